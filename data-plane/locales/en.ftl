# Texts of the problem codes of `data-plane`. Per code: title, what happened (.detail), what to do (.remedy).

## environments

problem-sandbox_only = Sandbox only
    .detail = Simulators and the movable clock exist in sandbox environments only.
    .remedy = Use a token of a sandbox environment.
problem-clock_backwards = The clock moves forward only
    .detail = The environment's clock already shows { $now }.
    .remedy = Name a later instant.
problem-clock_too_far = Too far ahead
    .detail = A sandbox's clock can be at most a hundred years ahead.
    .remedy = Name an earlier instant.

## parties

problem-party_external_id_taken = external_id in use
    .detail = Another party of this environment has this external_id.
    .remedy = Find it with GET /v1/parties?external_id=…, or choose another one.
problem-party_changed = Changed meanwhile
    .detail = The party was changed since you read it, so that If-Match names an old version.
    .remedy = Read the party again, then send your change with its new ETag.
problem-too_long = Too long
    .detail = This has more than { $limit } characters or items.
    .remedy = Shorten it.
problem-other_person = Field of the other kind of person
    .detail = Natural persons have given_names, family_names and born_on; legal persons have legal_name and trade_name.
    .remedy = Leave the field out, or correct the type.
problem-unknown_identifier = Unknown type of identifier
    .detail = This kind of person has these types of identifier here: { $known }.
    .remedy = Use one of them.
problem-identifier_form = Identifier malformed
    .detail = This has not the form of the identifier { $type }.
    .remedy = Check the identifier with the person or in their document.
problem-email_form = Not an address of electronic mail
    .detail = This is no address of electronic mail.
    .remedy = Send an address such as name@example.com.
problem-phone_form = Not a telephone number
    .detail = This is no telephone number in the form of E.164.
    .remedy = Send a plus sign, the country code and the number, digits only: +525512345678.
problem-birth_date = Not a birthday
    .detail = The date is before 1900 or in the future.
    .remedy = Correct the date.
problem-import_empty = Nothing to import
    .detail = The file has no line after its header.
    .remedy = Send a header and at least one line.
problem-import_columns = Columns not as expected
    .detail = The header cannot be read as UTF-8, lacks a required column, or names a column that is unknown or stands there twice. Nothing was imported.
    .remedy = Correct the header; errors names the columns.
problem-import_too_long = Too many lines
    .detail = One import takes at most { $limit } lines. Nothing was imported.
    .remedy = Split the file; every part needs the header.
problem-line_encoding = Line not UTF-8
    .detail = The line is not UTF-8.
    .remedy = Save the file as UTF-8.
problem-line_quotes = Quotes wrong
    .detail = A quote is not closed, or stands inside a field that is not quoted.
    .remedy = Put the whole field in quotes and double the quotes inside it; a field has no line break.
problem-line_fields = Wrong number of fields
    .detail = The line has { $found } fields, the header has { $expected }.
    .remedy = Put fields that contain a comma in quotes; leave no field out.
problem-party_differs = Party known with other content
    .detail = There is a party of this external_id with other content. It was left as it is.
    .remedy = Change the party with PATCH /v1/parties/…, or correct the line.

## accounts

problem-account_external_id_taken = External id taken
    .detail = Another account of this environment has this external_id.
    .remedy = Use another one, or read the account that has it.
problem-account_party_unknown = Unknown party
    .detail = No party of this environment has this id.
    .remedy = Make the party first, or correct the id.
problem-currency_not_offered = Other currency
    .detail = The books of this environment are in { $currency }.
    .remedy = Name that currency, or none.
problem-account_state = Wrong state
    .detail = The account is { $state ->
        [open] open
        [frozen] frozen
       *[closed] closed
    }.
    .remedy = Read the account, and ask for what its state allows. A closed account stays closed.
problem-account_not_empty = Account not empty
    .detail = The account has a balance of { $balance } and holds of { $held }.
    .remedy = Move the balance to another account, and capture or void the holds.
problem-not_a_customers_account = Not a customer's account
    .detail = The account is the institution's own; only customers' accounts are blocked.
    .remedy = Name the account of a customer.
problem-block_beneficiary = Unfit beneficiary
    .detail = What receives a blocked amount is an open internal account of this environment.
    .remedy = Open an internal account for executed orders, and name it.
problem-nothing_to_block = Nothing to block
    .detail = The account has { $available } available.
    .remedy = Freeze the account, or repeat the order with a new key when money has come in.
problem-block_ended = Block ended
    .detail = The block has been released.
    .remedy = Look at the hold, and order a new block if one is needed.
problem-block_refused = Block refused
    .detail = The ledger refused the block: { $reason }.
    .remedy = Look up that reason, and repeat the request with a new key.
problem-period_reversed = Period reversed
    .detail = The period ends before it begins.
    .remedy = Exchange from_on and to_on.
problem-period_too_long = Period too long
    .detail = A statement covers at most { $days } days.
    .remedy = Ask for shorter periods, one after the other.
problem-period_in_future = Period in the future
    .detail = Today is { $today }.
    .remedy = Let the period end today or earlier.
problem-not_acceptable = No acceptable form
    .detail = There is no answer in a form that the Accept header names.
    .remedy = Accept one of { $forms }.

## payments

problem-preview_unknown = Unknown preview
    .detail = You were shown no preview of this id.
    .remedy = Make one with POST /v1/payment-previews.
problem-preview_expired = Preview expired
    .detail = The preview's time is over.
    .remedy = Make a new one with POST /v1/payment-previews and show it to the payer.
problem-preview_used = Preview used
    .detail = The preview has become the payment { $payment }.
    .remedy = Read that payment; to pay again, make a new preview.
problem-payment_external_id_taken = external_id in use
    .detail = Another payment of this environment has this external_id.
    .remedy = Find it with GET /v1/payments?external_id=…, or choose another one.
problem-payment_account_internal = Not a customer's account
    .detail = The account is the institution's own; payments lead between customers' accounts.
    .remedy = Use POST /v1/transfers for the institution's own accounts.
