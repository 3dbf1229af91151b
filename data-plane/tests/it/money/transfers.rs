//! Posting, repeating, refusing and reading transfers.

use super::*;

#[tokio::test]
async fn a_transfer_is_posted_once_and_read_back() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let asked = with(transfer(ANA, BETO, 300), json!({"reference": "Invoice 4711"}));
        let first = bank.send("/v1/transfers", "invoice-4711", &asked).await;
        let shown = first.ok(201);
        assert_eq!(first.header("idempotency-replayed"), None);
        assert_eq!(shown["debit_balance"], 700);
        assert_eq!(shown["credit_balance"], 300);
        assert_eq!(shown["reference"], "Invoice 4711");
        let again = bank.send("/v1/transfers", "invoice-4711", &asked).await;
        assert_eq!(again.ok(201), shown);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let id = shown["id"].as_str().unwrap();
        assert_eq!(bank.read(&format!("/v1/transfers/{id}")).await, shown);
        assert_eq!(bank.balance(ANA).await, [700, 0, 700]);
        assert_eq!(bank.balance(BETO).await, [300, 0, 300]);
        assert_eq!(bank.balance(CASH).await, [1_000, 0, 1_000]);
        assert_eq!(bank.transfers().await, 2);
    }
}

#[tokio::test]
async fn a_batch_has_an_outcome_per_transfer() {
    for bank in Bank::both().await {
        bank.fund(ANA, 1_000).await;
        let batch = json!({"transfers": [
            transfer(ANA, BETO, 300),
            transfer(ANA, BETO, 701),
            with(transfer(ANA, BETO, 200), json!({"linked": true})),
            transfer(BETO, FEES, 10_000),
            with(transfer(ANA, BETO, 9_999), json!({"balancing": "debit"})),
        ]});
        let first = bank.send("/v1/transfer-batches", "payday", &batch).await;
        let shown = first.ok(200);
        assert_eq!([&shown["posted"], &shown["replayed"], &shown["rejected"]], [2, 0, 3]);
        let data = shown["data"].as_array().unwrap();
        let codes: Vec<&str> = data.iter().map(|one| one["code"].as_str().unwrap_or_default()).collect();
        assert_eq!(codes, ["", "insufficient_funds", "linked_transfer_failed", "insufficient_funds", ""]);
        assert_eq!(data[1]["available"], 700);
        assert_eq!(data[4]["amount"]["amount"], 700);
        assert_eq!(bank.balance(ANA).await, [0, 0, 0]);
        let again = bank.send("/v1/transfer-batches", "payday", &batch).await;
        assert_eq!(first.header("idempotency-replayed"), None);
        assert_eq!(again.header("idempotency-replayed"), Some("true"));
        let repeated = again.ok(200);
        let outcome = |one: &Value| one["outcome"] == "rejected";
        for (one, before) in repeated["data"].as_array().unwrap().iter().zip(data) {
            assert_eq!(
                [&one["id"], &one["code"], &one["position"]],
                [&before["id"], &before["code"], &before["position"]]
            );
            assert_eq!(outcome(one), outcome(before));
        }
        assert_eq!([&repeated["posted"], &repeated["replayed"], &repeated["rejected"]], [0, 2, 3]);
        assert_eq!(bank.transfers().await, 3);
    }
}
