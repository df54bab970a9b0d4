"""The HSM room, the only importer of pkcs11: keys are born and used here, their bytes stay in the token.

Threading rule: caches and everything in `keystore` belong to the event loop's thread; `device`, `sessions`
and the modules that take a session may be called from any thread.
"""
