"""The table of operations: every unary RPC as a method, for every kind of client."""

from strongroom._operation import Operation
from strongroom.calls import (
    access,
    admin,
    batches,
    credentials,
    crypto,
    datakeys,
    events,
    externalkeys,
    grants,
    keys,
    keystores,
    names,
    policies,
    quotarequests,
)


class StreamOperations:
    """What a stream can carry: the operations of `Operate`."""

    encrypt = Operation(crypto.encrypt)
    decrypt = Operation(crypto.decrypt)
    re_encrypt = Operation(crypto.re_encrypt)
    generate_data_key = Operation(datakeys.generate_data_key)
    sign = Operation(crypto.sign)
    verify = Operation(crypto.verify)
    generate_mac = Operation(crypto.generate_mac)
    verify_mac = Operation(crypto.verify_mac)


class Operations(StreamOperations):
    """Every unary RPC of the API. See the functions in `strongroom.calls` for arguments and answers."""

    create_key = Operation(keys.create_key)
    adopt_key = Operation(keys.adopt_key)
    describe_key = Operation(keys.describe_key)
    list_keys = Operation(keys.list_keys)
    update_key_description = Operation(keys.update_key_description)
    enable_key = Operation(keys.enable_key)
    disable_key = Operation(keys.disable_key)
    schedule_key_deletion = Operation(keys.schedule_key_deletion)
    cancel_key_deletion = Operation(keys.cancel_key_deletion)
    rotate_key = Operation(keys.rotate_key)
    list_key_versions = Operation(keys.list_key_versions)
    get_public_key = Operation(keys.get_public_key)
    get_key_usage = Operation(keys.get_key_usage)
    create_alias = Operation(names.create_alias)
    update_alias = Operation(names.update_alias)
    delete_alias = Operation(names.delete_alias)
    list_aliases = Operation(names.list_aliases)
    tag_key = Operation(names.tag_key)
    untag_key = Operation(names.untag_key)
    list_tags = Operation(names.list_tags)
    get_key_policy = Operation(names.get_key_policy)
    put_key_policy = Operation(names.put_key_policy)
    generate_data_key_without_plaintext = Operation(datakeys.generate_data_key_without_plaintext)
    generate_data_key_pair = Operation(datakeys.generate_data_key_pair)
    generate_data_key_pair_without_plaintext = Operation(datakeys.generate_data_key_pair_without_plaintext)
    derive_shared_secret = Operation(crypto.derive_shared_secret)
    generate_random = Operation(crypto.generate_random)
    batch_encrypt = Operation(batches.batch_encrypt)
    batch_decrypt = Operation(batches.batch_decrypt)
    batch_sign = Operation(batches.batch_sign)
    create_grant = Operation(grants.create_grant)
    list_grants = Operation(grants.list_grants)
    list_retirable_grants = Operation(grants.list_retirable_grants)
    retire_grant = Operation(grants.retire_grant)
    revoke_grant = Operation(grants.revoke_grant)
    check_policy = Operation(policies.check_policy)
    simulate_policy = Operation(policies.simulate_policy)
    get_limit = Operation(admin.get_limit)
    put_limit = Operation(admin.put_limit)
    delete_limit = Operation(admin.delete_limit)
    list_limits = Operation(admin.list_limits)
    get_quota_usage = Operation(admin.get_quota_usage)
    request_quota = Operation(quotarequests.request_quota)
    get_quota_request = Operation(quotarequests.get_quota_request)
    list_quota_requests = Operation(quotarequests.list_quota_requests)
    answer_quota_request = Operation(quotarequests.answer_quota_request)
    cancel_quota_request = Operation(quotarequests.cancel_quota_request)
    list_audit_records = Operation(admin.list_audit_records)
    get_audit_checkpoint = Operation(admin.get_audit_checkpoint)
    get_caller_identity = Operation(admin.get_caller_identity)
    create_account = Operation(access.create_account)
    describe_account = Operation(access.describe_account)
    list_accounts = Operation(access.list_accounts)
    put_guard_rail = Operation(access.put_guard_rail)
    get_guard_rail = Operation(access.get_guard_rail)
    list_guard_rails = Operation(access.list_guard_rails)
    delete_guard_rail = Operation(access.delete_guard_rail)
    create_principal = Operation(access.create_principal)
    describe_principal = Operation(access.describe_principal)
    list_principals = Operation(access.list_principals)
    delete_principal = Operation(access.delete_principal)
    enable_principal = Operation(access.enable_principal)
    disable_principal = Operation(access.disable_principal)
    tag_principal = Operation(access.tag_principal)
    untag_principal = Operation(access.untag_principal)
    put_identity_policy = Operation(access.put_identity_policy)
    get_identity_policy = Operation(access.get_identity_policy)
    list_identity_policies = Operation(access.list_identity_policies)
    delete_identity_policy = Operation(access.delete_identity_policy)
    put_trust_policy = Operation(access.put_trust_policy)
    revoke_role_sessions = Operation(access.revoke_role_sessions)
    add_identity = Operation(credentials.add_identity)
    remove_identity = Operation(credentials.remove_identity)
    list_identities = Operation(credentials.list_identities)
    create_access_key = Operation(credentials.create_access_key)
    list_access_keys = Operation(credentials.list_access_keys)
    activate_access_key = Operation(credentials.activate_access_key)
    deactivate_access_key = Operation(credentials.deactivate_access_key)
    delete_access_key = Operation(credentials.delete_access_key)
    assume_role = Operation(credentials.assume_role)
    create_key_store = Operation(keystores.create_key_store)
    describe_key_store = Operation(keystores.describe_key_store)
    list_key_stores = Operation(keystores.list_key_stores)
    update_key_store = Operation(keystores.update_key_store)
    block_key_store = Operation(keystores.block_key_store)
    unblock_key_store = Operation(keystores.unblock_key_store)
    delete_key_store = Operation(keystores.delete_key_store)
    create_key_store_credential = Operation(keystores.create_key_store_credential)
    list_key_store_credentials = Operation(keystores.list_key_store_credentials)
    delete_key_store_credential = Operation(keystores.delete_key_store_credential)
    add_external_key = Operation(externalkeys.add_external_key)
    describe_external_key = Operation(externalkeys.describe_external_key)
    list_external_keys = Operation(externalkeys.list_external_keys)
    update_external_key = Operation(externalkeys.update_external_key)
    block_external_key = Operation(externalkeys.block_external_key)
    unblock_external_key = Operation(externalkeys.unblock_external_key)
    remove_external_key = Operation(externalkeys.remove_external_key)
    list_sinks = Operation(events.list_sinks)
    list_dead_letters = Operation(events.list_dead_letters)
    redrive_dead_letter = Operation(events.redrive_dead_letter)
    get_compliance_report = Operation(events.get_compliance_report)
