//! Providers that speak the three native dialects and misbehave on demand.
//!
//! A simulated provider writes and reads its wire format itself, without the `dialect` crate: what the codecs get
//! wrong shows here, because the simulator is an independent witness and as strict as the provider it stands for.
//!
//! The same [`Simulator`] runs in memory on virtual time ([`InMemory`] is an `upstream::Transport`) and over real
//! sockets ([`Server`]). Faults are [`FaultRule`]s on a time line, drawn from a seed: the same seed and the same
//! requests give the same trace. [`Injector`] puts the same faults into a share of *real* calls; it decorates a
//! `Transport`, so the gateway wraps the transport it already has and no layer below knows. [`proxy`] is the same in
//! front of a provider, as a process of its own.
//!
//! An [`Answer`] is what a provider says, to the letter if need be; a [`Cut`] breaks it off after any byte; and
//! [`Continues`] is what a provider does with an answer that broke off elsewhere:
//!
//! ```
//! use canon::DialectName;
//! use simulator::{Answer, Chunks, Continues, Cut, CutBy, FaultRule, InMemory, Manner, NativeWay, Provider, Simulator};
//!
//! let answer = Answer::exactly("To the letter — 漢字 and all.").in_chunks(Chunks::Bytes(7));
//! let cut = Cut::text(17).by(CutBy::Reset);
//! let primary = Provider::new("primary", DialectName::OpenaiChat)
//!     .answering(answer.clone())
//!     .failing([FaultRule::new(cut.into())]); // the same as "cut_after_text:bytes=17,by=reset".parse()
//! let fallback = Provider::new("fallback", DialectName::AnthropicMessages)
//!     .answering(answer)
//!     .continuing(Continues::instructed()); // or NativeWay::Prefix, Manner::Loops, "skips:way=partial".parse()
//! let fallback = Simulator::new(fallback);
//! let transport = InMemory::new().with(&Simulator::new(primary)).with(&fallback);
//! # let _ = (transport, NativeWay::Prefix, Manner::Loops);
//! // … what goes through the transport is in the journal:
//! assert!(fallback.take_journal().is_empty());
//! ```

mod answer;
mod behaviour;
mod body;
mod conduct;
mod continues;
mod cut;
mod duration;
mod error;
mod fault;
mod frame;
mod going_on;
mod injector;
mod journal;
mod memory;
mod proxy;
mod rewording;
mod schema;
mod script;
mod serve;
mod server;
mod sever;
mod simulator;
mod sniff;
mod socket;
mod steps;
mod tamper;
mod tear;
mod telling;
mod turn;
mod wire;
mod words;

pub use behaviour::{Behaviour, FaultRule, Flap, Pace};
pub use body::{BrokenBody, SimBody};
pub use conduct::{Conduct, Conductor};
pub use continues::{Continues, Manner, NativeWay};
pub use cut::{Count, Cut, CutBy, CutPoint};
pub use fault::{FaultKind, HintForm, ParseFaultError, RetryHint};
pub use injector::{Injection, Injector};
pub use journal::{Ended, Entry};
pub use memory::InMemory;
pub use proxy::{ProxyOptions, Proxying, proxy};
pub use script::{Answer, Chunks, ScriptedCall, Words};
pub use serve::{ServeOptions, Serving, serve};
pub use server::Server;
pub use simulator::{Provider, Simulator};
pub use turn::{ConnectionFault, Turn};
