"""The optimisers of HOPE: AdamW by groups, Muon, M3, and levels that are updated less often. docs/hope.md."""
