-- What a careful team writes when it posts a transfer inside PostgreSQL: one function, one transaction per transfer.
-- The baseline of `tambo bench ledger`. It works on the ledger's own tables (same columns, keys, indexes, policies and
-- grants, made by the same migrations in a database of its own) and is called as the same role.
--
-- It does what the ledger does for a plain transfer: the id is the record of idempotency (same content: replayed, other
-- content: refused), both accounts are locked in one order, then existence, currency, state, range, funds and limits are
-- checked, the wide row with both balances after is written, totals and limit usage are updated.
--
-- It does less in three points, all in its favour: there is no hash chain (it would make every transaction wait for the
-- commit of the one before), positions come from a sequence and may have gaps, and refusals are not kept.

-- Beyond all positions that the bare loop for batches gives out in the same table.
CREATE SEQUENCE bench_seq START 1000000000000 CACHE 1;
GRANT USAGE ON SEQUENCE bench_seq TO tambo_ledger;

-- pgbench knows integers only.
CREATE FUNCTION bench_uuid(high bigint, low bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN encode(int8send(high) || int8send(low), 'hex')::uuid;

CREATE FUNCTION bench_post(
    p_shard int, p_environment uuid, p_id uuid, p_debit uuid, p_credit uuid, p_amount bigint, p_currency text,
    p_actor text, p_client uuid, p_request_id text
) RETURNS text LANGUAGE plpgsql AS $post$
DECLARE
    most CONSTANT bigint := 9007199254740991;
    now_at CONSTANT timestamptz := clock_timestamp();
    effective timestamptz;
    content_hash bytea;
    known bytea;
    account ledger_account;
    debit ledger_account;
    credit ledger_account;
    bound ledger_limit;
    started timestamptz;
    debit_after bigint;
    credit_after bigint;
BEGIN
    IF p_amount <= 0 OR p_amount > most THEN RETURN 'amount'; END IF;
    IF p_debit = p_credit THEN RETURN 'accounts_identical'; END IF;
    content_hash := substring(sha256(int8send(p_amount) || uuid_send(p_debit) || uuid_send(p_credit)
                                     || convert_to(p_currency, 'UTF8')) FOR 16);

    FOR account IN
        SELECT * FROM ledger_account
        WHERE shard_id = p_shard AND environment_id = p_environment AND id IN (p_debit, p_credit)
        ORDER BY id FOR UPDATE
    LOOP
        IF account.id = p_debit THEN debit := account; ELSE credit := account; END IF;
    END LOOP;

    -- After the locks, so that the same transfer twice at once has one effect.
    SELECT content INTO known FROM ledger_transfer
    WHERE shard_id = p_shard AND environment_id = p_environment AND id = p_id;
    IF FOUND THEN
        RETURN CASE WHEN known = content_hash THEN 'replayed' ELSE 'id_reused' END;
    END IF;

    IF debit.id IS NULL OR credit.id IS NULL THEN RETURN 'account_not_found'; END IF;
    IF debit.currency <> p_currency OR credit.currency <> p_currency THEN RETURN 'currency_mismatch'; END IF;
    -- Open, or frozen on the other side.
    IF debit.state NOT IN (0, 2) OR credit.state NOT IN (0, 1) THEN RETURN 'account_state'; END IF;
    effective := greatest(now_at, debit.last_effective_at, credit.last_effective_at);

    -- All accounts of the measurement are liabilities: they grow by credits.
    debit_after := debit.credits_posted - debit.debits_posted - p_amount;
    credit_after := credit.credits_posted - credit.debits_posted + p_amount;
    IF credit_after > most THEN RETURN 'balance_overflow'; END IF;
    IF NOT debit.may_overdraw AND debit_after - debit.debits_held < 0 THEN RETURN 'insufficient_funds'; END IF;

    IF debit.limits_revision > 0 OR credit.limits_revision > 0 THEN
        FOR bound IN
            SELECT * FROM ledger_limit
            WHERE shard_id = p_shard AND environment_id = p_environment
              AND (account_id = p_debit AND direction = 0 OR account_id = p_credit AND direction = 1)
            ORDER BY account_id, direction, time_window FOR UPDATE
        LOOP
            -- The measurement has limits per calendar day (window 1).
            started := date_trunc('day', effective, bound.time_zone);
            IF bound.started_at <> started THEN bound.used := 0; END IF;
            IF bound.used + p_amount > bound.maximum THEN RETURN 'limit_exceeded'; END IF;
            UPDATE ledger_limit SET used = bound.used + p_amount, started_at = started
            WHERE shard_id = p_shard AND environment_id = p_environment AND account_id = bound.account_id
              AND direction = bound.direction AND time_window = bound.time_window;
        END LOOP;
    END IF;

    INSERT INTO ledger_transfer (
        shard_id, environment_id, id, seq, kind, debit_account, credit_account, amount, currency, imported,
        debit_balance, credit_balance, effective_at, booked_at, content, actor, client_id, request_id
    ) VALUES (
        p_shard, p_environment, p_id, nextval('bench_seq'), 0, p_debit, p_credit, p_amount, p_currency, 0,
        debit_after, credit_after, effective, effective, content_hash, p_actor, p_client, p_request_id
    );
    UPDATE ledger_account SET
        debits_posted = debits_posted + CASE WHEN id = p_debit THEN p_amount ELSE 0 END,
        credits_posted = credits_posted + CASE WHEN id = p_credit THEN p_amount ELSE 0 END,
        last_effective_at = effective
    WHERE shard_id = p_shard AND environment_id = p_environment AND id IN (p_debit, p_credit);
    RETURN 'posted';
END
$post$;
