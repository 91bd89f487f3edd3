"""How Django writes dates in pages: as `bytemark_sync.times` writes them."""
