//! Several simulated providers at once, for the binary: `simulate`, `demo`, and the first run without configuration.

use crate::server::Server;
use crate::simulator::{Provider, Simulator};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What to serve and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port of the first provider, the others follow; 0 = free ports.
    pub port: u16,
    /// The providers, one port each.
    pub providers: Vec<Provider>,
}

impl ServeOptions {
    /// These providers on free ports of the loopback address.
    pub fn local(providers: Vec<Provider>) -> Self {
        Self { host: Ipv4Addr::LOCALHOST.into(), port: 0, providers }
    }
}

/// The providers that listen. Dropping it ends them.
pub struct Serving {
    /// In the order of the options.
    pub servers: Vec<Server>,
}

impl Serving {
    /// The server of the provider of this name.
    pub fn named(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.simulator().name() == name)
    }
}

/// Starts the providers. Fails when a port is taken or would be beyond the last one.
pub async fn serve(options: ServeOptions) -> io::Result<Serving> {
    let mut servers = Vec::new();
    for (place, provider) in (0_u16..).zip(options.providers) {
        let port = match options.port {
            0 => 0,
            first => first.checked_add(place).ok_or_else(|| io::Error::other("no port left for every provider"))?,
        };
        servers.push(Server::bind(Simulator::new(provider), SocketAddr::new(options.host, port)).await?);
    }
    Ok(Serving { servers })
}
