//! Makes valid histories: a small world of clients, a gateway and providers that do everything right.

#![allow(dead_code, clippy::allow_attributes, reason = "each test file uses its own part")]

use canon::{Fault, FaultClass, Origin as FaultOrigin, Phase};
use fastrand::Rng;
use history::{
    ClientEnd, ClientPen, Event, GatewayEnd, GatewayEvent, GatewayPen, Memory, ProviderEnd, Record, Recorder,
    SimulatorPen, Tokens, Way,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECOND: u64 = 1_000_000;

/// A history of so many requests: the process begins, the requests overlap, the process ends.
pub(crate) fn valid(requests: u64, seed: u64) -> Vec<Record> {
    let mut records = Vec::new();
    for number in 0..requests {
        let mut rng = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let begun = SECOND + number * 1000 + rng.u64(0..1000);
        records.extend(World::new(begun, rng).request(&format!("req_{number:06}")));
    }
    records.sort_by_key(|record| record.at);
    let last = records.last().map_or(SECOND, |record| record.at);
    let process = |at, event| Record { at, id: None, event: Event::Gateway(event) };
    records.insert(0, process(1, GatewayEvent::Started {}));
    records.push(process(last + SECOND, GatewayEvent::Drained {}));
    records
}

/// The same records as three logs, one behind the other.
pub(crate) fn by_writer(records: Vec<Record>) -> Vec<Record> {
    let (gateway, rest): (Vec<_>, Vec<_>) =
        records.into_iter().partition(|record| matches!(record.event, Event::Gateway(_)));
    let (client, rest): (Vec<_>, Vec<_>) =
        rest.into_iter().partition(|record| matches!(record.event, Event::Client(_)));
    [rest, gateway, client].concat()
}

/// One request's own time line.
struct World {
    rng: Rng,
    now: Arc<AtomicU64>,
    memory: Arc<Memory>,
    next_target: u32,
    next_attempt: u32,
    worked: u32,
}

/// An attempt under way.
struct Call {
    number: u32,
    target: u32,
    provider: SimulatorPen,
}

impl World {
    fn new(begun: u64, rng: Rng) -> Self {
        let now = Arc::new(AtomicU64::new(begun));
        let clock = now.clone();
        let memory = Arc::new(Memory::new(move || clock.load(Ordering::Relaxed)));
        Self { rng, now, memory, next_target: 0, next_attempt: 0, worked: 0 }
    }

    fn recorder(&self) -> Arc<dyn Recorder> {
        self.memory.clone()
    }

    /// Time goes on, but less than a late cancel takes.
    fn tick(&mut self) {
        self.now.fetch_add(self.rng.u64(0..20_000), Ordering::Relaxed);
    }

    fn words(&mut self) -> String {
        const WORDS: [&str; 8] = ["the ", "naïve ", "café ", "狐狸 ", "🦊 ", "jumps ", "over ", "it. "];
        let count = self.rng.usize(0..6);
        (0..count).map(|_| WORDS[self.rng.usize(0..WORDS.len())]).collect()
    }

    fn request(mut self, id: &str) -> Vec<Record> {
        let client = ClientPen::sent(self.recorder(), id);
        self.tick();
        let gateway = GatewayPen::received(self.recorder(), id.into());
        let left = self.rng.bool().then_some(Duration::from_secs(30));
        gateway.planned(6, left, (3, 4), Vec::new());
        for _ in 0..self.rng.u32(0..4) {
            self.fault_before_commit(id, &gateway);
        }
        self.tick();
        match self.rng.u32(0..10) {
            0 => self.give_up(client, &gateway),
            1 | 2 => self.whole(id, client, &gateway),
            3 => self.overtaken(id, client, &gateway),
            _ => self.streamed(id, client, &gateway),
        }
        self.memory.take()
    }

    fn ask(&mut self, id: &str, gateway: &GatewayPen, way: Way) -> Call {
        let target = self.next_target;
        self.next_target += 1;
        self.ask_again(id, gateway, way, target, 0)
    }

    fn ask_again(&mut self, id: &str, gateway: &GatewayPen, way: Way, target: u32, credential: u32) -> Call {
        self.tick();
        let number = self.next_attempt;
        self.next_attempt += 1;
        gateway.attempt_started(number, (&format!("provider-{target}/model"), None), credential, way);
        self.tick();
        let provider = SimulatorPen::asked(self.recorder(), id, number, &format!("provider-{target}"));
        Call { number, target, provider }
    }

    /// What is refused at the door, or is silent, or fails in its work; then the next.
    fn fault_before_commit(&mut self, id: &str, gateway: &GatewayPen) {
        let kind = self.rng.u32(0..6);
        if kind >= 3 && self.worked >= 1 {
            return;
        }
        if kind == 0 {
            // Nobody listens: no provider has anything to tell.
            self.tick();
            let number = self.next_attempt;
            self.next_attempt += 1;
            self.next_target += 1;
            gateway.attempt_started(number, (&format!("provider-{}/model", self.next_target - 1), None), 0, Way::Next);
            self.tick();
            gateway.attempt_ended(number, Some(&fault(FaultClass::Unreachable)));
            return;
        }
        let mut call = self.ask(id, gateway, Way::Next);
        match kind {
            1 => self.refused(call, gateway, FaultClass::Overloaded),
            2 => {
                let target = call.target;
                self.refused(call, gateway, FaultClass::RateLimited);
                let again = self.ask_again(id, gateway, Way::Next, target, 1);
                self.refused(again, gateway, FaultClass::RateLimited);
            }
            3 => {
                self.worked += 1;
                let target = call.target;
                self.refused(call, gateway, FaultClass::ServerError);
                let again = self.ask_again(id, gateway, Way::Next, target, 0);
                self.refused(again, gateway, FaultClass::Overloaded);
            }
            4 => {
                self.worked += 1;
                call.provider.bill(Tokens { input: 9, output: 0 });
                self.tick();
                gateway.cancelled(call.number);
                let silent =
                    Fault { may_be_billed: true, ..Fault::timed_out(Phase::FirstToken, Duration::from_secs(10)) };
                gateway.attempt_ended(call.number, Some(&silent));
                self.tick();
                drop(call);
            }
            _ => {
                self.worked += 1;
                self.speak(&mut call, gateway, None);
                self.broken(call, gateway);
            }
        }
    }

    fn refused(&mut self, mut call: Call, gateway: &GatewayPen, class: FaultClass) {
        call.provider.ended(ProviderEnd::Complete);
        self.tick();
        gateway.attempt_ended(call.number, Some(&fault(class)));
    }

    /// The provider breaks the connection, and some of what it sent is lost.
    fn broken(&mut self, mut call: Call, gateway: &GatewayPen) {
        let lost = self.words();
        call.provider.sent(&lost);
        call.provider.bill(Tokens { input: 9, output: 40 });
        call.provider.ended(ProviderEnd::Broken);
        self.tick();
        gateway.attempt_ended(call.number, Some(&Fault { may_be_billed: true, ..fault(FaultClass::StreamBroken) }));
    }

    /// Some events of text; released to the caller if there is one.
    fn speak(&mut self, call: &mut Call, gateway: &GatewayPen, mut client: Option<&mut ClientPen>) {
        call.provider.sent("");
        gateway.read(call.number, "");
        if client.is_some() {
            gateway.released("");
        }
        for _ in 0..self.rng.u32(1..6) {
            let words = self.words();
            self.tick();
            call.provider.sent(&words);
            gateway.read(call.number, &words);
            if let Some(client) = &mut client {
                show(gateway, client, &words);
            }
        }
    }

    fn finish(&mut self, call: &mut Call, gateway: &GatewayPen) {
        let tokens = Tokens { input: 9, output: self.rng.u64(1..100) };
        call.provider.finish();
        call.provider.bill(tokens);
        gateway.stated(call.number, tokens);
    }

    fn streamed(&mut self, id: &str, mut client: ClientPen, gateway: &GatewayPen) {
        let mut call = self.ask(id, gateway, Way::Next);
        gateway.committed(call.number);
        client.head(200);
        client.text("");
        loop {
            self.speak(&mut call, gateway, Some(&mut client));
            self.tick();
            self.worked += 1;
            match self.rng.u32(0..8) {
                0 => return self.hung_up(call, client, gateway),
                1 | 2 if self.worked < 3 => {
                    let target = call.target;
                    self.broken(call, gateway);
                    call = match self.rng.u32(0..4) {
                        0 => return self.honest(client, gateway),
                        1 => self.ask_again(id, gateway, Way::Next, target, 0),
                        _ => self.ask(id, gateway, Way::Next),
                    };
                    let overlap = self.words();
                    call.provider.sent(&overlap);
                    gateway.serves(history::Origin::Attempt(call.number));
                    gateway.read(call.number, &overlap);
                    gateway.skipped(&overlap);
                }
                _ => break,
            }
        }
        self.finish(&mut call, gateway);
        call.provider.ended(ProviderEnd::Complete);
        gateway.attempt_ended(call.number, None);
        client.body(b"data: [DONE]\n\n");
        gateway.handed_over(b"data: [DONE]\n\n");
        self.tick();
        gateway.decided(GatewayEnd::Answered);
        gateway.close();
        client.end(ClientEnd::Complete);
    }

    fn hung_up(&mut self, mut call: Call, client: ClientPen, gateway: &GatewayPen) {
        // Released, and the caller is gone before it gets there.
        let words = self.words();
        call.provider.sent(&words);
        gateway.read(call.number, &words);
        gateway.released(&words);
        gateway.handed_over(words.as_bytes());
        drop(client);
        self.tick();
        gateway.cancelled(call.number);
        gateway.decided(GatewayEnd::HungUp);
        gateway.close();
        self.tick();
        call.provider.bill(Tokens { input: 9, output: 3 });
        drop(call);
    }

    fn honest(&mut self, mut client: ClientPen, gateway: &GatewayPen) {
        client.body(b"error");
        gateway.handed_over(b"error");
        self.tick();
        gateway.decided(GatewayEnd::EndedHonestly);
        gateway.close();
        self.tick();
        client.end(ClientEnd::HonestError);
    }

    fn whole(&mut self, id: &str, mut client: ClientPen, gateway: &GatewayPen) {
        let mut call = self.ask(id, gateway, Way::Next);
        let text: String = (0..4).map(|_| self.words()).collect();
        call.provider.sent(&text);
        self.finish(&mut call, gateway);
        call.provider.ended(ProviderEnd::Complete);
        self.tick();
        gateway.read(call.number, &text);
        gateway.attempt_ended(call.number, None);
        gateway.serves(history::Origin::Attempt(call.number));
        client.head(200);
        client.text("");
        gateway.released("");
        show(gateway, &mut client, &text);
        gateway.decided(GatewayEnd::Answered);
        gateway.close();
        client.end(ClientEnd::Complete);
    }

    /// A probe, and the hedge that is quicker.
    fn overtaken(&mut self, id: &str, mut client: ClientPen, gateway: &GatewayPen) {
        let mut slow = self.ask(id, gateway, Way::Probe);
        let mut quick = self.ask(id, gateway, Way::Hedge);
        client.head(200);
        client.text("");
        gateway.committed(quick.number);
        gateway.cancelled(slow.number);
        let given_up = Fault { may_be_billed: true, ..fault(FaultClass::Cancelled) };
        gateway.attempt_ended(slow.number, Some(&given_up));
        slow.provider.bill(Tokens { input: 9, output: 1 });
        drop(slow);
        self.speak(&mut quick, gateway, Some(&mut client));
        self.finish(&mut quick, gateway);
        quick.provider.ended(ProviderEnd::Complete);
        gateway.attempt_ended(quick.number, None);
        gateway.decided(GatewayEnd::Answered);
        gateway.close();
        self.tick();
        client.end(ClientEnd::Complete);
    }

    fn give_up(&mut self, mut client: ClientPen, gateway: &GatewayPen) {
        client.head(502);
        client.text("");
        client.body(b"{}");
        gateway.released("");
        gateway.handed_over(b"{}");
        gateway.decided(GatewayEnd::Refused { status: 502 });
        gateway.close();
        self.tick();
        client.end(ClientEnd::Refused { status: 502 });
    }
}

fn fault(class: FaultClass) -> Fault {
    Fault::new(class, FaultOrigin::Head, "")
}

fn show(gateway: &GatewayPen, client: &mut ClientPen, words: &str) {
    gateway.released(words);
    gateway.handed_over(words.as_bytes());
    client.text(words);
    client.body(words.as_bytes());
}
