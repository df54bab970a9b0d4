"""External key stores: what AWS KMS asks of them (`proxy`), and their management.

`shelf` holds them in memory; `stores`, `externalkeys` and `credentials` change them; `health` looks after the
tokens behind them.
"""
