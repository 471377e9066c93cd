//! How often a target sees one request, and where the request goes then.

use crate::support::memory::{Plan, rule};
use crate::support::{body, hello, request};
use canon::DialectName;
use serde_json::json;
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn a_persistent_503_sees_at_most_two_attempts_of_one_request() {
    for fault in ["unavailable_503", "overloaded_529", "unavailable_503:retry_after=1s"] {
        for alone in [false, true] {
            let plan = if alone { Plan::default().alone() } else { Plan::default() };
            let world = plan.build();
            world.break_primary(fault);
            let answer = world.hello().await;
            assert!((1..=2).contains(&world.primary.journal().len()), "{fault}");
            assert_eq!(answer.status, if alone { 502 } else { 200 }, "{fault}: {}", answer.text());
        }
    }
}

/// The caller waits, whatever the provider believes.
#[tokio::test(start_paused = true)]
async fn a_provider_that_says_that_its_caller_hung_up_is_left_for_the_next() {
    for alone in [false, true] {
        let plan = if alone { Plan::default().alone() } else { Plan::default() };
        let world = plan.build();
        world.break_primary("early_response:status=499");
        let answer = world.hello().await;
        assert_eq!(answer.status, if alone { 502 } else { 200 }, "{}", answer.text());
        assert_eq!(answer.header("x-mainstay-reason"), Some("cancelled"));
        assert_eq!(world.primary.journal().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn one_500_is_retried_once_on_the_same_target() {
    for stream in [false, true] {
        let world = Plan::default().build();
        world.primary.set_faults([rule("server_error_500").for_requests(1)]);
        let answer = world.send(hello(DialectName::OpenaiChat, stream)).await;
        answer.served_by("primary");
        assert_eq!(world.primary.journal().len(), 2);
        assert!(world.fallback.journal().is_empty());
        assert_eq!(answer.header("x-mainstay-fallback"), Some("0"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_500_goes_to_the_fallback() {
    let world = Plan::default().build();
    world.break_primary("server_error_500");
    world.hello().await.served_by("fallback");
    assert_eq!((world.primary.journal().len(), world.fallback.journal().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_too_long_goes_to_the_fallback_after_exactly_one_attempt() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            let world = Plan::of(dialect).build();
            world.break_primary("bad_request_context_length");
            let answer = world.send(hello(dialect, stream)).await;
            answer.served_by("fallback");
            assert_eq!((world.primary.journal().len(), world.fallback.journal().len()), (1, 1), "{dialect}");
            assert_eq!(answer.header("x-mainstay-reason"), Some("context_exceeded"), "{dialect}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_content_policy_refusal_goes_to_the_caller_after_exactly_one_attempt() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            let world = Plan::of(dialect).build();
            world.break_primary("content_policy_400");
            let answer = world.send(hello(dialect, stream)).await;
            assert_eq!((world.primary.journal().len(), world.fallback.journal().len()), (1, 0), "{dialect}");
            let text = answer.text().to_lowercase();
            let says_why = ["policy", "safety", "prohibited", "block"].iter().any(|word| text.contains(word));
            assert!(says_why, "{dialect}: the provider's reason reaches the caller: {text}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn content_policy_goes_on_where_the_operator_says_so() {
    for dialect in DialectName::ALL {
        for stream in [false, true] {
            let world = Plan::of(dialect).model("on: { content_blocked: next }").build();
            world.break_primary("content_policy_400");
            world.send(hello(dialect, stream)).await.served_by("fallback");
            assert_eq!(world.primary.journal().len(), 1, "{dialect}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_that_was_silent_is_never_asked_again_by_the_same_request() {
    for stream in [false, true] {
        let world = Plan::default().build();
        world.break_primary("hang_before_headers");
        let answer = world.send(hello(DialectName::OpenaiChat, stream)).await;
        answer.served_by("fallback");
        assert_eq!(world.primary.journal().len(), 1);
        assert_eq!(answer.header("x-mainstay-reason"), Some("timed_out"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_fault_is_told_at_once_and_never_opens_anything() {
    for dialect in DialectName::ALL {
        let world = Plan::of(dialect).build();
        let mut bad = body(dialect, "Hello");
        match dialect {
            DialectName::OpenaiChat | DialectName::AnthropicMessages => bad["temperature"] = json!(99),
            DialectName::Gemini => bad["generationConfig"] = json!({"temperature": 99}),
        }
        for stream in [false, true] {
            for _ in 0..20 {
                let answer = world.send(request(dialect, bad.clone(), stream)).await;
                assert_eq!(answer.status, 400, "{dialect}: {}", answer.text());
            }
        }
        assert_eq!(world.primary.journal().len(), 40, "{dialect}: each was asked once, and none was kept from it");
        assert!(world.fallback.journal().is_empty(), "{dialect}");
        world.send(hello(dialect, false)).await.served_by("primary");
    }
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_request_never_open_anything() {
    for fault in ["bad_request_context_length", "content_policy_400", "too_large_413"] {
        let world = Plan::default().build();
        world.break_primary(fault);
        for _ in 0..20 {
            world.hello().await;
        }
        assert_eq!(world.primary.journal().len(), 20, "{fault}");
        world.primary.set_faults([]);
        world.hello().await.served_by("primary");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_who_hang_up_never_open_anything() {
    let world = Plan::default().build();
    world.break_primary("hang_before_headers");
    for _ in 0..20 {
        let gone = tokio::time::timeout(Duration::from_secs(2), world.hello()).await;
        assert!(gone.is_err());
    }
    assert_eq!(world.primary.journal().len(), 20);
    world.primary.set_faults([]);
    world.hello().await.served_by("primary");
}

#[tokio::test(start_paused = true)]
async fn when_everybody_fails_the_caller_reads_the_primarys_fault_and_every_attempt() {
    for dialect in DialectName::ALL {
        let world = Plan::of(dialect).build();
        world.break_primary("unavailable_503");
        world.break_fallback("unauthorized_401");
        let answer = world.send(hello(dialect, false)).await;
        assert_eq!(answer.status, 502, "{dialect}: {}", answer.text());
        let text = answer.text();
        assert!(text.contains("primary/m-1") && text.contains("fallback/m-2"), "{dialect}: {text}");
        assert!(text.contains("overloaded") && text.contains("auth_rejected"), "{dialect}: {text}");
        assert_eq!(answer.header("x-should-retry"), Some("false"));
        assert_eq!(answer.header("x-mainstay-attempts"), Some("2"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_for_a_model_that_is_gone_goes_to_the_fallback_and_the_target_is_left_alone() {
    let world = Plan::default().build();
    world.break_primary("model_404");
    world.hello().await.served_by("fallback");
    world.hello().await.served_by("fallback");
    assert_eq!(world.primary.journal().len(), 1);
}
