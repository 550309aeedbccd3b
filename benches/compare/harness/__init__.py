"""The runner of benches/compare: Python 3.11, its standard library only.

`main` reads as the story of a run. `rows`, `certificates` and `growth` say what is measured, `peer` starts
what it is measured on, `bench` puts the load there, `process` reads what it cost, and `results` and
`markdown` keep it.
"""
