//! The words of the trace's requests: enough of them for a complexity score to see what it would see in real ones.

/// Everyday questions, easy and hard, as they are put to an assistant.
const ASKS: [&str; 12] = [
    "What can I cook tonight with leeks, potatoes and a little cream?",
    "Explain to a child of eight why the evening sky is red.",
    "Write a polite letter to my landlord about the heating that has been broken for 3 weeks.",
    "My function returns a reference to a local value and does not compile. Why, and what should I write instead?",
    "Plan 3 days in Porto for two people with a small child who does not like museums.",
    "Is it cheaper to repay 12,000 at 4.5 % over 36 months or over 60 months, and by how much?",
    "Give me ten names for a bakery by the sea.",
    "Compare the ways in which two services can agree on an order of events, and say when each of them breaks.",
    "Make this sentence friendlier: the parcel was not delivered because nobody was at home.",
    "Design a table for bookings of rooms so that two guests can never have the same room on the same night.",
    "What is the difference between weather and climate?",
    "Prove that the sum of two odd numbers is even, and say where the proof would fail for other numbers.",
];

/// What customers of a bank write, in a line.
const MESSAGES: [&str; 8] = [
    "my card has not arrived and it has been two weeks now",
    "why was I charged twice for the same coffee",
    "how do I change the address you have for me",
    "the machine kept my card, what now",
    "which countries can I send money to",
    "I do not recognise this payment of 49.90",
    "can my daughter have an account, she is 15",
    "the transfer from yesterday still says pending",
];

/// What such messages can be about.
pub(crate) const CATEGORIES: &str = "card_arrival, card_delivery_estimate, card_swallowed, charged_twice, \
    unrecognised_payment, pending_transfer, declined_transfer, change_address, change_pin, lost_or_stolen_card, \
    age_limit, country_support, exchange_rate, fees_abroad, refund_missing, top_up_failed, verify_identity, \
    close_account, compromised_card, none_of_these";

/// Questions about documents.
const QUESTIONS: [&str; 4] = [
    "Which of the decisions above was taken last, and who was against it?",
    "What do the documents say about the cost of the change, and do they agree?",
    "Who reported the damaged pallets, and what was done about it?",
    "List everything that was postponed, with the reason that is given.",
];

const WHO: [&str; 10] = [
    "The committee",
    "A supplier in Lyon",
    "The maintenance team",
    "Our northern depot",
    "The insurer",
    "One of the customers",
    "The city council",
    "The night shift",
    "A neighbour of the plant",
    "The new director",
];
const DID: [&str; 10] = [
    "approved",
    "postponed",
    "reported",
    "measured",
    "ordered",
    "rejected",
    "described",
    "reviewed",
    "paid for",
    "asked about",
];
const WHAT: [&str; 10] = [
    "the third invoice",
    "a change of the schedule",
    "two damaged pallets",
    "the new heating plant",
    "an offer from another vendor",
    "the results of the spring survey",
    "a shorter route to the harbour",
    "the repair of the loading bay",
    "the minutes of the last meeting",
    "a plan for the empty hall",
];
const HOW: [&str; 10] = [
    "before the end of the quarter",
    "after a long discussion",
    "because the forecast had changed",
    "although nobody had asked for it",
    "at the price that was agreed in May",
    "while the road was closed",
    "on the advice of the auditors",
    "for the second time this year",
    "as the weather turned",
    "in a letter of four pages",
];

fn pick<'a>(of: &[&'a str], rng: &mut fastrand::Rng) -> &'a str {
    rng.choice(of).copied().unwrap_or_default()
}

/// Prose of about so many characters.
pub(crate) fn prose(characters: u64, rng: &mut fastrand::Rng) -> String {
    let wanted = usize::try_from(characters).unwrap_or(usize::MAX);
    let mut text = String::with_capacity(wanted + 128);
    while text.len() < wanted {
        for part in [pick(&WHO, rng), " ", pick(&DID, rng), " ", pick(&WHAT, rng), " ", pick(&HOW, rng), ". "] {
            text.push_str(part);
        }
    }
    text
}

pub(crate) fn ask(rng: &mut fastrand::Rng) -> &'static str {
    pick(&ASKS, rng)
}

pub(crate) fn message(rng: &mut fastrand::Rng) -> &'static str {
    pick(&MESSAGES, rng)
}

pub(crate) fn question(rng: &mut fastrand::Rng) -> &'static str {
    pick(&QUESTIONS, rng)
}
