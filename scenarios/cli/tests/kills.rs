//! Thirty real SIGKILLs under load: a file channel loses nothing that was acknowledged.

#![expect(clippy::unwrap_used, clippy::panic, reason = "it is a test")]

#[path = "common/shipped.rs"]
mod shipped;

#[test]
fn thirty_kills_lose_nothing() {
    let name = "kinds/thirty-kills";
    let ran = shipped::run(name, &[]);
    assert_eq!(
        ran.code,
        shipped::expected(name, "engine"),
        "{}",
        ran.output
    );
    // What the scenario offers, so that a load which ended early is no success.
    assert_eq!(ran.count("issued"), 2_000 * 53, "{}", ran.output);
    assert_eq!(ran.count("acked"), ran.count("issued"), "{}", ran.output);
    for count in ["lost", "corrupted", "malformed", "unexpected"] {
        assert_eq!(ran.count(count), 0, "{count}: {}", ran.output);
    }

    let faults = ran.record["faults"].as_array().unwrap();
    let killed = faults.iter().filter(|fault| {
        fault["witness"]["value"]["what"] == "signal 9 and a new pid"
            && fault["in_flight"]["value"].as_u64() > Some(0)
    });
    assert!(killed.count() >= 30, "{}", ran.output);
    // The history, which nobody but the kernel's wait status writes, says so as well.
    let deaths = ran.text("history.jsonl");
    let deaths = deaths.lines().filter(|line| {
        line.contains("\"what\":\"ended\"")
            && line.contains("\"role\":\"agent\"")
            && line.contains("\"exit\":\"signal 9\"")
    });
    assert_eq!(deaths.count(), faults.len());
}
