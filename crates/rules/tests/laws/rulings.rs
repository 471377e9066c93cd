//! What follows from the rules that hold for the targets of a plan.

use crate::world::{IDS, World, at, compile, judge};
use proptest::prelude::*;
use rules::{Actions, Written};

#[derive(Debug, Clone, Default)]
struct Lists {
    prefer: Vec<usize>,
    avoid: Vec<usize>,
    exclude: Vec<usize>,
    only: Vec<usize>,
}

fn lists() -> impl Strategy<Value = Lists> {
    let some = || proptest::collection::vec(0..IDS.len(), 0..3);
    (some(), some(), prop_oneof![3 => Just(Vec::new()), 1 => some()], some())
        .prop_map(|(prefer, avoid, exclude, only)| Lists { prefer, avoid, exclude, only })
        .prop_filter("a rule does something", |it| {
            !(it.prefer.is_empty() && it.avoid.is_empty() && it.exclude.is_empty() && it.only.is_empty())
        })
}

fn written(lists: &Lists) -> Written<'static> {
    let names = |targets: &[usize]| targets.iter().map(|target| IDS[*target].to_owned()).collect();
    let actions = Actions {
        prefer: names(&lists.prefer),
        avoid: names(&lists.avoid),
        exclude: names(&lists.exclude),
        only: names(&lists.only),
        sets: false,
        tier: None,
    };
    Written { name: None, condition: "true", until: None, hold: None, min_samples: None, actions }
}

/// What is excluded, what is passed over, and the order of those able, `unfit` not being fit to be preferred.
fn follow(rules: &[Lists], able: &[usize], unfit: &[usize]) -> (Vec<(usize, usize)>, Vec<usize>, Vec<usize>) {
    let set = compile(&rules.iter().map(written).collect::<Vec<_>>()).unwrap();
    let world = World::default().of(&set);
    judge(&set, &world, at(0.0), |ruling| {
        let sifted = ruling.sift(able);
        let mut order = able.to_vec();
        ruling.reorder(&mut order, true, |target| (*target, !unfit.contains(target)));
        (sifted.excluded, sifted.passed_over, order)
    })
}

proptest! {
    #[test]
    fn the_last_able_target_goes_only_where_a_rule_says_exclude(
        rules in proptest::collection::vec(lists(), 1..5),
        able in proptest::sample::subsequence(vec![0, 1, 2, 3], 1..=4),
    ) {
        let (excluded, passed_over, order) = follow(&rules, &able, &[]);
        let left = able.iter().filter(|target| !excluded.iter().any(|(it, _)| it == *target)).count();
        let said = able.iter().all(|target| rules.iter().any(|rule| rule.exclude.contains(target)));
        prop_assert_eq!(left == 0, said, "{:?}", excluded);
        for (target, place) in &excluded {
            let rule = &rules[*place];
            let reason = rule.exclude.contains(target) || (!rule.only.is_empty() && !rule.only.contains(target));
            prop_assert!(reason, "the rule that is told does it: {} by {:?}", target, rule);
            prop_assert_eq!(excluded.iter().filter(|(it, _)| it == target).count(), 1);
        }
        for place in passed_over {
            let listed = able.iter().any(|t| rules[place].only.contains(t) && !excluded.iter().any(|(it, _)| it == t));
            prop_assert!(!listed, "passed over although one of its targets is left");
        }
        let mut sorted = order;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, able, "an order loses nobody");
    }

    #[test]
    fn what_is_avoided_comes_last_and_everything_else_keeps_its_order(
        rules in proptest::collection::vec(lists(), 1..5),
        unfit in proptest::collection::vec(0_usize..4, 0..3),
    ) {
        let (_, _, order) = follow(&rules, &[0, 1, 2, 3], &unfit);
        let kind = |target: &usize| {
            if rules.iter().any(|rule| rule.avoid.contains(target)) {
                2
            } else {
                let preferred = rules.iter().any(|rule| rule.prefer.contains(target)) && !unfit.contains(target);
                u8::from(!preferred)
            }
        };
        prop_assert!(order.is_sorted_by_key(kind), "{:?}", order);
        let plain: Vec<_> = order.iter().filter(|target| kind(target) == 1).collect();
        prop_assert!(plain.is_sorted());
    }
}

#[test]
fn an_earlier_rule_is_stronger() {
    let first = Lists { prefer: vec![3], ..Lists::default() };
    let second = Lists { prefer: vec![2, 3], ..Lists::default() };
    assert_eq!(follow(&[first.clone(), second.clone()], &[0, 1, 2, 3], &[]).2, [3, 2, 0, 1]);
    assert_eq!(follow(&[second, first], &[0, 1, 2, 3], &[]).2, [2, 3, 0, 1]);
}

#[test]
fn only_is_passed_over_when_none_of_its_targets_is_able() {
    let only = Lists { only: vec![3], ..Lists::default() };
    assert_eq!(follow(std::slice::from_ref(&only), &[0, 3], &[]).0, [(0, 0)]);
    assert_eq!(follow(&[only], &[0, 1], &[]), (vec![], vec![0], vec![0, 1]));
}
