"""Checks what is assumed of Bytemark's API against the real one (docs/contract.md#managepy-bytemark_probe).

`plan` decides what is asked, `asker` asks, `reading` takes an answer apart, the checks judge what was seen. Nothing is
written, and no request changes anything at Bytemark, but for a rider's login that somebody asks for.
"""
