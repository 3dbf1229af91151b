# Texts of the problem codes of `control-plane`. Per code: title, what happened (.detail), what to do (.remedy).

## callers and texts

problem-operator_only = For operators only
    .detail = Only an operator of the platform may do this.
    .remedy = Ask the operator, or use an operator's token.
problem-external_id_taken = external_id in use
    .detail = Another one has this external_id.
    .remedy = Find it in the list with ?external_id=…, or choose another one.
problem-text_unusable = Text not acceptable
    .detail = The text is empty, has more than { $limit } characters or another form than the API reference says, or has control characters or spaces at its ends.
    .remedy = Correct the text.

## organizations

problem-organization_not_found = No such organization
    .detail = There is no such organization that you may see.
    .remedy = Check the id, and whose token you use.

## regions

problem-region_unknown = Unknown region
    .detail = There is no region of this code.
    .remedy = Use one of GET /v1/regions, or have an operator make it.
problem-region_country_fixed = A region stays in its country
    .detail = The region is in { $country }; what lies there was allowed for that country.
    .remedy = Make another region for the other country.

## tenants

problem-tenant_not_found = No such tenant
    .detail = There is no such tenant that you may see.
    .remedy = Check the id, and whose token you use.
problem-tenant_state = The tenant's state does not allow it
    .detail = A tenant that is { $from } does not become { $to }.
    .remedy = Read the tenant and its moves, then decide again.
problem-jurisdiction_unknown = Unknown jurisdiction
    .detail = There is no compliance profile of this jurisdiction; there are { $known }.
    .remedy = Use one of them.
problem-licence_unknown = Unknown licence
    .detail = The jurisdiction has no such licence; it has { $known }.
    .remedy = Use one of them.

## residency

problem-residency_condition_missing = Conditions for this region are missing
    .detail = Data of a tenant of { $jurisdiction } may lie in { $region } ({ $country }) only if these conditions are met: { $conditions }.
    .remedy = Put each on record with its document and date (POST /v1/tenants/…/residency-records), then repeat the request; errors says more.
problem-residency_region_forbidden = Region not allowed
    .detail = The profile of { $jurisdiction } does not let data lie in { $region }, which is in { $country }.
    .remedy = Choose a region in a country that the profile allows.
problem-residency_notice_missing = Notice to the authority is missing
    .detail = It is not on record that the authority was told of this region. Rule: { $source }
    .remedy = Tell the authority, then record the notice with its date.
problem-residency_certificate_missing = Certificates are missing
    .detail = No cell in this region has a valid certificate for { $attestations }.
    .remedy = Have an operator record the cell's certificates, or choose another region.
problem-residency_regulator_access_missing = Access of the authority is missing
    .detail = It is not on record that the authority can look at data and contracts in this region. Rule: { $source }
    .remedy = Agree on that access in the contract, then record it with its date.
problem-residency_local_only_contract_missing = Contract that keeps the data there is missing
    .detail = It is not on record that the contract keeps the data in this region's country. Rule: { $source }
    .remedy = Sign such a contract, then record it with its date.
problem-residency_record_too_young = The record does not count yet
    .detail = What is on record counts from { $met_on } on.
    .remedy = Repeat the request on that day.
problem-residency_condition_of_cell = A condition that cells meet
    .detail = Certificates are recorded for cells by operators, not for tenants.
    .remedy = Ask the operator for the certificates of the cell.
problem-residency_record_exists = On record already
    .detail = The tenant has a record of this condition for this region that counts.
    .remedy = Withdraw that record first, if the new one is to replace it.
problem-residency_record_not_found = No such record
    .detail = The tenant has no such record.
    .remedy = Check the id with GET /v1/tenants/…/residency-records.

## documents

problem-document_not_found = No such document
    .detail = There is no such document that you may see.
    .remedy = Check the id, and whose token you use.
problem-document_elsewhere = The document lies elsewhere
    .detail = The document belongs in { $region }, and the store of its jurisdiction lies in another region now.
    .remedy = Have the operator configure the store in { $region } again ([[documents]]); then repeat the request.
problem-document_store_missing = No store for these documents
    .detail = There is no store for the documents of { $jurisdiction } in a region of its country.
    .remedy = Have the operator name one in the configuration of the control plane ([[documents]]), in a region of GET /v1/regions that lies in the country; then repeat the request.
problem-document_store_unusable = The document cannot be reached for now
    .detail = The link cannot be signed, because the access key of the store cannot be used. Of a new document it is on record what it is to be.
    .remedy = Repeat the request with the same Idempotency-Key; if that does not help, tell the operator.

## operations

problem-operation_not_found = No such operation
    .detail = There is no such operation that you may see.
    .remedy = Check the id, and whose token you use.
problem-operation_running = An operation is running
    .detail = The operation { $operation } about the same thing has not ended.
    .remedy = Watch it (GET /v1/operations/{ $operation }/events) or cancel it, then repeat the request.
problem-operation_not_cancellable = Cannot be cancelled
    .detail = The operation has ended, or is past the point to which it can be undone.
    .remedy = Read the operation; what it made can be removed.

## environments

problem-environment_not_found = No such environment
    .detail = There is no such environment that you may see.
    .remedy = Check the id, and whose token you use.
problem-environment_exists = The tenant has such an environment
    .detail = A tenant has one environment of each mode, and this one has one.
    .remedy = Find it with GET /v1/environments?tenant_id=…, or remove it first.
problem-environment_state = The environment's state does not allow it
    .detail = An environment that is { $state } cannot do this.
    .remedy = Read the environment, and wait until it is ready.
problem-clock_live = A live environment has the wall clock
    .detail = Only the clock of a sandbox can be ahead.
    .remedy = Leave clock_offset_ms out, or use a sandbox.
problem-clock_backwards = The clock moves forward only
    .detail = The environment's clock is to be ahead by { $offset } ms already.
    .remedy = Name at least as much.
problem-tenant_not_approved = The tenant is not approved
    .detail = A tenant that is { $state } gets no environments.
    .remedy = Have the tenant verified and approved first.
problem-tenant_restricted = The tenant is restricted
    .detail = A restricted tenant keeps what it has, and gets no new environments and no new clients.
    .remedy = Have an operator end the restriction. Until then what there is can be used, rotated and revoked.
problem-tenant_suspended = The tenant is suspended
    .detail = No environment of a suspended tenant answers.
    .remedy = Have the tenant resumed: what its suspension has suspended answers again by itself.
problem-profile_version_unknown = Unknown version of the profile
    .detail = The jurisdiction's profile has the version { $known }.
    .remedy = Use that one, or name none.

## clients

problem-client_not_found = No such client
    .detail = There is no such client that you may see.
    .remedy = Check the id, and whose token you use.
problem-client_revoked = The client is revoked
    .detail = A client that is revoked stays so.
    .remedy = Make another client.
problem-client_limit = Too many clients
    .detail = There may be { $limit } clients that are not revoked, and there are.
    .remedy = Revoke one that nobody needs.
problem-client_credentials_unusable = Credentials not usable
    .detail = private_key_jwt needs one to three public keys on P-256 with different names, tls one to three thumbprints of certificates (SHA-256, base64url), secret neither; a binding to a certificate needs thumbprints.
    .remedy = Send what the method needs, and nothing else.
problem-client_secret_forbidden = No secrets here
    .detail = Only clients of a sandbox may have a secret.
    .remedy = Use private_key_jwt.
problem-client_unbound = Tokens have to be bound
    .detail = In live mode tokens are bound to a key (dpop) or to a certificate (certificate).
    .remedy = Choose one of these bindings.
problem-client_scopes_unusable = Scopes not usable
    .detail = A client has 1 to 64 scopes, and at the control plane none that its maker does not have.
    .remedy = Name scopes of the API's reference, such as accounts:read.

## cells

problem-cell_not_found = No such cell
    .detail = There is no cell with this id.
    .remedy = Find it with GET /v1/cells.
problem-cell_name_taken = Name in use
    .detail = Another cell has this name.
    .remedy = Find it with GET /v1/cells?name=…, or choose another name.
problem-cell_name_unusable = Not a cell's name
    .detail = A cell's name has 1 to 63 lower-case letters, digits and hyphens.
    .remedy = Choose such a name.
problem-cell_in_use = Environments are in the cell
    .detail = { $placed } environments are placed in the cell.
    .remedy = Remove them first, or name a capacity that holds them.
problem-cell_state = The cell's state does not allow it
    .detail = A cell that is { $from } does not become { $to }.
    .remedy = Read the cell, then decide again.
problem-cell_jurisdiction_unknown = Unknown jurisdiction
    .detail = There is no compliance profile of this jurisdiction; there are { $known }.
    .remedy = Use one of them.
problem-out_of_bounds = Out of bounds
    .detail = The value is to be from { $lowest } to { $highest }.
    .remedy = Choose one of these.

## links

problem-join_token_unknown = Join token not known
    .detail = Nobody made this join token, or it was cut or changed on its way.
    .remedy = Have an operator make one (POST /v1/cells/…/join-tokens), and copy the whole line.
problem-join_token_expired = Join token expired
    .detail = The time of this join token is over.
    .remedy = Have an operator make another one.
problem-join_token_used = Join token used already
    .detail = A join token is good once, and this one was used with another request.
    .remedy = Have an operator make another one; if nobody of yours used it, find out who did.
problem-contract_unsupported = No common version of the contract
    .detail = The control plane speaks the versions { $supported } of the contract, and the cell none of them.
    .remedy = Upgrade whichever is older; the cell goes on meanwhile.
problem-clock_skew = Clocks too far apart
    .detail = The cell's clock is { $skew_ms } ms ahead of the control plane's.
    .remedy = Have both set by NTP, then try again.
problem-csr_invalid = Request for a certificate unusable
    .detail = It is no PKCS #10 request, not signed by its own key, or its key is not ECDSA on P-256.
    .remedy = Make another request.
problem-csr_for_another_cell = Request for another cell
    .detail = The request for a certificate names another cell than the one that asks.
    .remedy = Make a request for this cell.
problem-cell_mismatch = Configured as another cell
    .detail = The cell is configured with another { $field } than the one it wants to enrol as.
    .remedy = Correct its configuration, or use a join token of the cell that it is.
problem-message_unusable = Out of bounds
    .detail = The field that is named is longer, or has more items, than the contract allows.
    .remedy = Send it within its bounds.
problem-certificate_missing = No certificate of a cell
    .detail = This is for cells, and there is no certificate of one on this connection.
    .remedy = Enrol first.
problem-certificate_revoked = Certificate not honoured
    .detail = This certificate was revoked, or is not known here.
    .remedy = Have an operator make a join token, and enrol again.
problem-certificate_expired = Certificate has ended
    .detail = With a certificate that has ended a cell can only ask for the next one.
    .remedy = Renew it, within 30 days of its end; after that, enrol again.
problem-cell_identity_taken = Another instance is this cell
    .detail = Another database has enrolled as this cell, and goes on as it.
    .remedy = Stop whichever is the copy; to let this one take over, enrol with a join token that has replace_instance.
problem-cell_forked = Two go on from one identity
    .detail = Two instances with the identity of this cell have reported. Neither is listened to.
    .remedy = Stop the copy, then let the right one enrol with a join token that has replace_instance.
problem-cell_retired = The cell is retired
    .detail = This cell was retired, and is not let in again.
    .remedy = Have an operator make another cell.
