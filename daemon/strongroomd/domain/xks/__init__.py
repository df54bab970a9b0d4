"""AWS KMS external key stores, as facts and rules: names, layouts, records, policy. Pure.

The sections named here are those of the AWS KMS External Key Store Proxy API specification, version 1.0.3.
"""
