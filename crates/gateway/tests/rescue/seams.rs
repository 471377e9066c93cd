//! Text cut anywhere goes on as if nothing had happened.

use crate::read::{Heard, hear};
use crate::support::hello;
use crate::support::memory::{Plan, World, rule};
use canon::DialectName;
use simulator::{Answer, Behaviour, Continues, Pace};

const TEXT: &str = "The harbour is quiet. Seven “lanterns” swing — 漢字 and 🦊 wait.\nNobody counts them twice, for the \
                    ferry returns at dawn. Then the maps are folded, and that is all there is to say about it.";

/// Both providers say `text`; the primary breaks off by `fault`, the fallback goes on in this way.
fn world(primary: DialectName, fallback: DialectName, text: &str, fault: &str, continues: Continues) -> World {
    let world = Plan { primary, fallback, ..Plan::default() }.build();
    let says = Behaviour { answer: Answer::exactly(text), pace: Pace::instant(), continues, ..Behaviour::default() };
    world.primary.set_behaviour(Behaviour { faults: vec![rule(fault)], ..says.clone() });
    world.fallback.set_behaviour(says);
    world
}

async fn heard(world: &World, caller: DialectName) -> Heard {
    hear(caller, &world.send(hello(caller, true)).await)
}

#[tokio::test(start_paused = true)]
async fn a_text_cut_in_the_middle_goes_on_at_the_next_target() {
    for caller in DialectName::ALL {
        for primary in DialectName::ALL {
            for fallback in DialectName::ALL {
                let world = world(primary, fallback, TEXT, "cut_after_text:bytes=60", Continues::instructed());
                let heard = heard(&world, caller).await;
                let way = format!("{caller}: {primary} then {fallback}: {heard:#?}");
                assert_eq!(heard.text, TEXT, "{way}");
                assert!(heard.is_complete() && heard.oddities.is_empty(), "{way}");
                assert!(heard.ids.len() <= 1 && heard.created.len() <= 1 && heard.models.len() <= 1, "{way}");
                assert_eq!(world.fallback.journal().len(), 1, "{way}");
            }
        }
    }
}
