//! A price feed: prices that are told count as prices that are written, and no more than they may.

use crate::desk::HOST;
use crate::pages::{World, pass, yaml};
use crate::support::memory::{Answer, read};
use crate::support::{body, request, snapshot};
use crate::tend;
use canon::DialectName;

const TARGETS: &str = "[{ target: primary/m-1, prices: { input: 1, output: 10 }, max_price: { output: 12 } }, \
                        { target: fallback/m-2, prices: { input: 2, output: 20 } }]";

fn feed(more: &str) -> String {
    format!("price_feed: {{ from: \"http://{HOST}/prices.json\", every: 1m{more} }}")
}

async fn traced(world: &World) -> Answer {
    let mut asked = request(DialectName::OpenaiChat, body(DialectName::OpenaiChat, "Hello"), false);
    asked.headers_mut().insert("x-mainstay-trace", "1".parse().unwrap());
    read(world.gateway.handle(asked).await).await
}

fn output_price(world: &World) -> String {
    let model = world.gateway.snapshot().resolve("chat").unwrap();
    model.targets[0].facts.prices.as_ref().unwrap().output.to_string()
}

fn says(output: &str) -> String {
    format!(
        r#"[{{"target":"primary/m-1","input":1,"output":{output}}},{{"target":"primary/other","input":1,"output":1}},7]"#
    )
}

#[tokio::test(start_paused = true)]
async fn a_price_that_is_told_is_paid_and_guarded_like_one_that_is_written() {
    let world = World::new(&feed(""), "", TARGETS);
    world.desk.says(200, &says("11"));
    let _tending = tend(&world.gateway);
    pass(2).await;
    assert_eq!(output_price(&world), "$11.00");
    let report = world.gateway.price_feed();
    assert_eq!((report.in_force, report.unknown, report.malformed, report.refused.len()), (1, 1, 1, 0));
    traced(&world).await.served_by("primary");
    world.desk.says(200, &says("13"));
    pass(70).await;
    let answer = traced(&world).await;
    answer.served_by("fallback");
    let excluded = answer.json()["mainstay"]["excluded"][0].clone();
    assert_eq!(excluded["target"], "primary/m-1");
    assert!(
        excluded["reason"].as_str().unwrap().contains("output cost $13.00, above the limit of $12.00"),
        "{excluded}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_step_that_is_too_large_is_refused_and_told_and_the_price_in_force_stays() {
    let world = World::new(&feed(", max_change: 20%"), "", TARGETS);
    world.desk.says(200, &says("13"));
    let _tending = tend(&world.gateway);
    pass(2).await;
    assert_eq!(output_price(&world), "$10.00");
    assert_eq!(world.gateway.price_feed().refused, ["primary/m-1: output from $10.00 to $13.00 is more than 20 %"]);
    for step in ["12", "14", "16"] {
        world.desk.says(200, &says(step));
        pass(70).await;
    }
    assert_eq!(output_price(&world), "$16.00", "in steps it gets there");
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_feed_change_nothing_and_stop_nobody() {
    let world = World::new(&feed(""), "", TARGETS);
    world.desk.says(200, &says("11"));
    let _tending = tend(&world.gateway);
    pass(2).await;
    for (status, body) in [(500, ""), (200, "<html>"), (200, "{}"), (404, "[]"), (200, "[]")] {
        world.desk.says(status, body);
        pass(2_000).await;
        assert_eq!(output_price(&world), "$11.00", "{status} {body}");
        traced(&world).await.served_by("primary");
    }
}

#[tokio::test(start_paused = true)]
async fn a_mirror_is_paid_by_the_price_that_is_told_of_its_target() {
    const MIRRORED: &str = "[primary/m-1]\n    mirror: { target: { target: fallback/m-2, prices: { input: 2, output: 20 } }, \
                            share: 100% }";
    let world = World::new(&feed(""), "", MIRRORED);
    let paid = || world.gateway.mirrors().first().map(|(_, counts)| counts.cost).unwrap_or_default().pico();
    let copied = async || {
        let before = paid();
        traced(&world).await.served_by("primary");
        pass(10).await;
        paid() - before
    };
    let written = copied().await;
    assert!(written > 0);
    world.desk.says(200, r#"[{"target":"fallback/m-2","input":3,"output":30}]"#);
    let _tending = tend(&world.gateway);
    pass(2).await;
    let report = world.gateway.price_feed();
    assert_eq!((report.in_force, report.unknown), (1, 0), "who is mirrored alone is known too");
    assert_eq!(copied().await * 2, written * 3);
    world.desk.says(200, r#"[{"target":"fallback/m-2","input":6,"output":60}]"#);
    pass(70).await;
    assert_eq!(copied().await * 2, written * 3, "the bound of a step holds for it as well");
    assert_eq!(world.gateway.price_feed().refused.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_survives_a_reload_unless_something_else_is_written_now() {
    let world = World::new(&feed(""), "", TARGETS);
    world.desk.says(200, &says("11"));
    let tending = tend(&world.gateway);
    pass(2).await;
    drop(tending);
    let reload =
        |top: &str, targets: &str| world.gateway.replace(snapshot(&yaml(top, "", targets), &world.health)).unwrap();
    reload(&feed(""), TARGETS);
    assert_eq!(output_price(&world), "$11.00");
    reload(&feed(""), &TARGETS.replace("output: 10 }", "output: 9 }"));
    assert_eq!(output_price(&world), "$9.00", "the operator has said something since");
    reload("", TARGETS);
    assert_eq!(output_price(&world), "$10.00", "nobody feeds it any more");
}

#[tokio::test(start_paused = true)]
async fn an_exchange_is_paid_by_the_prices_it_began_with_and_a_file_is_a_feed_too() {
    let file = std::env::temp_dir().join(format!("mainstay-prices-{}.json", std::process::id()));
    std::fs::write(&file, says("11")).unwrap();
    let world = World::new(&format!("price_feed: {{ from: \"{}\" }}", file.display()), "", TARGETS);
    let before = world.gateway.snapshot();
    world.gateway.read_signals().await;
    assert_eq!(output_price(&world), "$11.00");
    let old = before.resolve("chat").unwrap();
    assert_eq!(old.targets[0].facts.prices.as_ref().unwrap().output.to_string(), "$10.00");
    assert!(std::sync::Arc::ptr_eq(&old.targets[0].health, &world.target()), "health is the same");
    std::fs::remove_file(&file).unwrap();
    world.gateway.read_signals().await;
    assert_eq!((output_price(&world).as_str(), world.gateway.unread_signals().len()), ("$11.00", 1));
}
