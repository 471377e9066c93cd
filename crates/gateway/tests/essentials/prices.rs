//! What a request may cost, and that it costs no more.

use crate::support::hello;
use crate::support::memory::Plan;
use canon::DialectName;

const TARGETS: &str = "[{ target: primary/m-1, prices: { input: 1, output: 10 } }, \
                        { target: fallback/m-2, prices: { input: 2, output: 20 } }]";

#[tokio::test(start_paused = true)]
async fn a_fallback_beyond_its_share_of_the_primary_s_price_is_not_asked_and_the_error_says_why() {
    let world = Plan { targets: TARGETS, ..Plan::default() }.model("max_price_ratio: 1.5").build();
    world.break_primary("unavailable_503");
    let answer = world.hello().await;
    assert_eq!(answer.status, 502);
    let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("fallback/m-2 (may cost $") && message.contains("above 150 % of the primary's"),
        "{message}"
    );
    assert!(world.fallback.journal().is_empty());
    let world = Plan { targets: TARGETS, ..Plan::default() }.model("max_price_ratio: 2").build();
    world.break_primary("unavailable_503");
    assert_eq!(world.hello().await.status, 200, "twice the price is twice the price");
}

#[tokio::test(start_paused = true)]
async fn a_spent_target_is_left_until_its_window_has_passed() {
    let targets = "[{ target: primary/m-1, prices: { input: 1, output: 10 }, spend: { limit: 0.006, window: 1h } }, \
                    fallback/m-2]";
    let world = Plan { targets, ..Plan::default() }.build();
    let first = world.hello().await;
    assert_eq!(first.header("x-mainstay-provider"), Some("primary"));
    let mut spent: f64 = first.header("x-mainstay-cost").unwrap().parse().unwrap();
    let mut diverted = None;
    for _ in 0..200 {
        let mut asked = hello(DialectName::OpenaiChat, false);
        asked.headers_mut().insert("x-mainstay-trace", "1".parse().unwrap());
        let answer = world.send(asked).await;
        if answer.header("x-mainstay-provider") == Some("fallback") {
            diverted = Some(answer);
            break;
        }
        spent += answer.header("x-mainstay-cost").unwrap().parse::<f64>().unwrap();
    }
    let diverted = diverted.expect("the limit is reached");
    assert!(spent <= 0.006 && spent > 0.0, "{spent}");
    assert_eq!(diverted.header("x-mainstay-reason"), Some("spend_limit"));
    assert_eq!(diverted.json()["mainstay"]["excluded"][0]["code"], "spend_limit");
    tokio::time::advance(std::time::Duration::from_secs(3_661)).await;
    assert_eq!(world.hello().await.header("x-mainstay-provider"), Some("primary"));
}

#[tokio::test(start_paused = true)]
async fn a_request_nobody_may_serve_at_its_price_is_refused_without_asking_anybody() {
    for dialect in DialectName::ALL {
        let plan = Plan { targets: TARGETS, ..Plan::of(dialect) }.model("max_price: 0.000001");
        let world = plan.build();
        let answer = world.send(hello(dialect, false)).await;
        assert_eq!(answer.status, 503, "{dialect}");
        assert_eq!(answer.header("x-mainstay-reason"), Some("no_target_within_price"));
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.header("retry-after"), Some("60"));
        assert!(world.primary.journal().is_empty() && world.fallback.journal().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn the_cheapest_serves_and_is_no_fallback_wherever_it_is_written() {
    let targets = "[{ target: primary/m-1, prices: { input: 2, output: 20 } }, \
                    { target: fallback/m-2, prices: { input: 1, output: 10 } }]";
    let world = Plan { targets, ..Plan::default() }.model("strategy: cheapest").build();
    let answer = world.hello().await;
    assert_eq!(answer.header("x-mainstay-provider"), Some("fallback"));
    assert_eq!((answer.header("x-mainstay-fallback"), answer.header("x-mainstay-reason")), (Some("0"), Some("none")));
    world.break_fallback("unavailable_503");
    let answer = world.hello().await;
    assert_eq!(answer.header("x-mainstay-provider"), Some("primary"));
    assert_eq!(answer.header("x-mainstay-reason"), Some("overloaded"));
}

#[tokio::test(start_paused = true)]
async fn the_quicker_of_two_gets_nearly_everything_once_both_are_known() {
    let world = Plan::default().model("strategy: fastest").build();
    world.break_primary("slow_first_token:by=8s");
    for _ in 0..40 {
        assert_eq!(world.send(hello(DialectName::OpenaiChat, true)).await.status, 200);
    }
    world.primary.clear_journal();
    for _ in 0..100 {
        assert_eq!(world.send(hello(DialectName::OpenaiChat, true)).await.status, 200);
    }
    let asked = world.primary.journal().len();
    assert!(asked <= 8, "{asked} of a hundred");
}

#[tokio::test(start_paused = true)]
async fn a_model_among_the_targets_serves_with_its_targets_and_then_the_next() {
    let model = "  pool:\n    strategy: weighted\n    targets: [primary/m-1]\n".to_owned();
    let world = Plan { targets: "[pool, fallback/m-2]", model, ..Plan::default() }.build();
    let answer = world.hello().await;
    assert_eq!(
        (answer.header("x-mainstay-provider"), answer.header("x-mainstay-fallback")),
        (Some("primary"), Some("0"))
    );
    world.break_primary("unavailable_503");
    let answer = world.hello().await;
    assert_eq!(
        (answer.header("x-mainstay-provider"), answer.header("x-mainstay-fallback")),
        (Some("fallback"), Some("1"))
    );
}
