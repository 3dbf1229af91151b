"""Recomputes every balance from the transfers alone, and compares it with what the API answered.

    python3 recompute.py FOLDER     FOLDER/<cell>/{accounts,transfers,balances}.csv, as `tambo demo --export FOLDER` writes
"""

import csv
import pathlib
import sys


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


faults = cells = 0
for cell in sorted(path for path in pathlib.Path(sys.argv[1]).iterdir() if path.is_dir()):
    grows_by_debits = {row["id"]: row["class"] in ("asset", "expense") for row in rows(cell / "accounts.csv")}
    balances = dict.fromkeys(grows_by_debits, 0)
    for row in rows(cell / "transfers.csv"):
        for side, sign in (("debit", 1), ("credit", -1)):
            account = row[f"{side}_account_id"]
            balances[account] += sign * int(row["amount"]) * (1 if grows_by_debits[account] else -1)
    answered = {row["account_id"]: int(row["balance"]) for row in rows(cell / "balances.csv")}
    wrong = [account for account in balances.keys() | answered.keys() if balances.get(account) != answered.get(account)]
    print(f"{cell.name}: {len(balances)} balances recomputed, {len(wrong)} differ", *wrong[:3])
    faults, cells = faults + len(wrong), cells + 1
sys.exit(0 if cells and not faults else 1)
