"""The HSM room, the only importer of pkcs11: keys are born and used here, their bytes stay in the token.

The vault is `keystore`, made of `uses` (callers' keys at work), `housework` (the daemon's own) and
`deliveries` (keys that come and go); `holding` has the keys that are loaded.

Threading rule: caches and all of the vault but what it gives to a lane belong to the event loop's thread;
`device`, `sessions` and the modules that take a session may be called from any thread.
"""
