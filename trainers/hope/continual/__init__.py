"""Task after task: the phases of a protocol, what is replayed, and how forgetting is measured. docs/hope.md."""
