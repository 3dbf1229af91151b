"""Checks an export without any code of ours: signature, hashes, hash chain, balances.

    python3 verify_export.py FOLDER THUMBPRINT     FOLDER/{manifest.jws,manifest.json,schema.json,*.jsonl}

THUMBPRINT is the name of the key that the control plane was told (`signed_by`): RFC 7638. Needs `openssl`.
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import datetime, timedelta, timezone

folder, thumbprint = pathlib.Path(sys.argv[1]), sys.argv[2]
faults = []


def check(holds, what):
    if not holds:
        faults.append(what)


def unbase64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def digest(data):
    return hashlib.sha256(data).hexdigest()


# The signature: an ES256 JWS whose header has the public key, whose thumbprint is the name that is known from elsewhere.
header, payload, signature = (folder / "manifest.jws").read_text().split(".")
key = json.loads(unbase64(header))["jwk"]
canonical = json.dumps({name: key[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"), sort_keys=True)
named = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")
check(named == thumbprint, "the key is another one")
head = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
pem = base64.encodebytes(head + unbase64(key["x"]) + unbase64(key["y"])).decode()


def integer(raw):
    raw = raw.lstrip(b"\0") or b"\0"
    raw = b"\0" + raw if raw[0] & 0x80 else raw
    return b"\x02" + bytes([len(raw)]) + raw


raw = unbase64(signature)
pair = integer(raw[:32]) + integer(raw[32:])
with tempfile.TemporaryDirectory() as scratch:
    scratch = pathlib.Path(scratch)
    (scratch / "key").write_text(f"-----BEGIN PUBLIC KEY-----\n{pem}-----END PUBLIC KEY-----\n")
    (scratch / "signature").write_bytes(b"\x30" + bytes([len(pair)]) + pair)
    (scratch / "signed").write_text(f"{header}.{payload}")
    command = ["openssl", "dgst", "-sha256", "-verify", "key", "-signature", "signature", "signed"]
    check(subprocess.run(command, cwd=scratch, capture_output=True).returncode == 0, "the signature is wrong")
check(unbase64(payload) == (folder / "manifest.json").read_bytes(), "another manifest was signed")

# Every part, as the manifest says; and nothing that it does not say.
manifest = json.loads(unbase64(payload))
lines = defaultdict(list)
expected = {"manifest.json", "manifest.jws"}
for name, part in [("", manifest["schema"])] + [(f["name"], p) for f in manifest["files"] for p in f["parts"]]:
    data = (folder / part["key"]).read_bytes()
    expected.add(part["key"])
    check((digest(data), len(data)) == (part["sha256"], part["bytes"]), f"{part['key']} was changed")
    if name:
        rows = [json.loads(line) for line in data.splitlines()]
        check(len(rows) == part["rows"], f"{part['key']} has another number of rows")
        lines[name] += rows
check({path.name for path in folder.iterdir()} == expected, "files that the manifest does not name")
described = json.loads((folder / "schema.json").read_text())["files"]
for name, rows in lines.items():
    fields = described[name]["line"]["properties"].keys()
    check(all(row.keys() <= fields for row in rows), f"{name} has fields that the schema does not name")

# Balances, from the transfers alone.
totals = defaultdict(lambda: [0, 0])
for row in lines["transfers"]:
    if row["type"] not in ("hold", "void", "expiry"):
        totals[row["debit_account_id"]][0] += row["amount"]
        totals[row["credit_account_id"]][1] += row["amount"]
for row in lines["accounts"]:
    check(totals[row["id"]] == [row["debits_posted"], row["credits_posted"]], f"{row['id']} holds another amount")
check(totals.keys() <= {row["id"] for row in lines["accounts"]}, "transfers of accounts that are not there")


# The hash chain: `hash = SHA-256(previous ‖ shard ‖ batch ‖ rows)`, of batches that are all the environment's own.
def uuid(text):
    digits = "0123456789abcdefghjkmnpqrstvwxyz"
    number = 0
    for letter in text.split("_")[1]:
        number = number * 32 + digits.index(letter)
    return number.to_bytes(16, "big")


def text(value):
    return len(value.encode()).to_bytes(4, "big") + value.encode()


def option(value, write):
    return b"\0" if value is None else b"\x01" + write(value)


def micros(value):
    date, _, fraction = value.rstrip("Z").partition(".")
    since = datetime.fromisoformat(date).replace(tzinfo=timezone.utc) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return since // timedelta(microseconds=1) + int((fraction + "000000")[:6])


def number(value, size=8):
    return value.to_bytes(size, "big", signed=True)


def encoded(row):
    yield uuid(manifest["environment_id"]) + uuid(row["id"]) + number(row["position"]) + number(row["type_code"], 2)
    yield uuid(row["debit_account_id"]) + uuid(row["credit_account_id"]) + number(row["amount"]) + text(row["currency"])
    for name in ("hold_id", "reverses_id", "chain_id"):
        yield option(row[name], uuid)
    yield bytes([row["imported"]]) + number(row["debit_balance"]) + number(row["credit_balance"])
    yield number(micros(row["effective_at"])) + number(micros(row["booked_at"])) + words(row)
    yield text(row["actor"]) + option(row["client_id"], uuid)


# What the caller said in words is in the chain as a digest of its own, which outlasts the words.
def words(row):
    said = (option(row[name], text) for name in ("request_id", "idempotency_key", "reference"))
    return hashlib.sha256(bytes.fromhex(row["content"]) + b"".join(said)).digest()


by_position = {row["position"]: row for row in lines["transfers"]}
whole = covered = 0
before = None
for batch in lines["batches"]:
    positions = range(batch["first_position"], batch["last_position"] + 1)
    own = [by_position[position] for position in positions if position in by_position]
    covered += len(own)
    check(len(own) == batch["own"], f"transfers of batch {batch['batch']} are missing")
    if len(own) == len(positions):
        whole += 1
        start = bytes.fromhex(batch["previous_hash"]) + number(batch["shard"], 4) + number(batch["batch"])
        again = digest(start + b"".join(part for row in own for part in encoded(row)))
        check(again == batch["hash"], f"batch {batch['batch']} was changed")
    if before and before["batch"] + 1 == batch["batch"]:
        check(before["hash"] == batch["previous_hash"], f"batch {batch['batch']} does not follow")
    before = batch
check(covered == len(by_position), "transfers of no batch")

print(f"{len(by_position)} transfers, {len(lines['accounts'])} accounts, {whole} of {len(lines['batches'])} batches hashed again")
for fault in faults:
    print(fault)
sys.exit(1 if faults else 0)
