//! Which proxy, if any, stands between Mainstay and an endpoint: the conventions of `curl` for `HTTPS_PROXY`,
//! `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, lower case first.
//!
//! Loopback is never proxied: a proxy's own loopback is another machine's.

use crate::Endpoint;
use crate::endpoint::{host_and_port, split_authority};
use base64::Engine;
use http::HeaderValue;
use std::fmt;
use std::net::IpAddr;

/// The proxies in use; empty by default.
#[derive(Debug, Clone, Default)]
pub struct ProxySettings {
    https: Option<Proxy>,
    http: Option<Proxy>,
    bypass: Vec<Bypass>,
}

/// One HTTP proxy.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `proxy-authorization`, from the URL's user information; marked sensitive.
    pub(crate) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&host_and_port(&self.host, self.port))
    }
}

const VARIABLES: [&str; 4] = ["https_proxy", "http_proxy", "all_proxy", "no_proxy"];

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bypass {
    Everything,
    /// The name itself and every name below it.
    Name(String, Option<u16>),
    /// Addresses that share the first bits.
    Net(IpAddr, u8),
}

/// Why a proxy variable cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyError(String);

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProxyError {}

impl ProxySettings {
    /// Reads the proxy variables among `variables` (name, value); all others are ignored. `ALL_PROXY` stands in for
    /// a scheme's own variable, and an empty value means no proxy.
    pub fn from_variables<N, V>(variables: impl IntoIterator<Item = (N, V)>) -> Result<Self, ProxyError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut found: [Option<(bool, String, String)>; 4] = [const { None }; 4];
        for (name, value) in variables {
            let name = name.as_ref();
            for (slot, wanted) in found.iter_mut().zip(VARIABLES) {
                let lower = name == wanted;
                let beats = slot.as_ref().is_none_or(|(was_lower, ..)| lower && !was_lower);
                if name.eq_ignore_ascii_case(wanted) && beats {
                    *slot = Some((lower, name.to_owned(), value.as_ref().trim().to_owned()));
                }
            }
        }
        let [https, http, all, none] = found;
        let all = all.as_ref();
        let parse = |own: Option<&(bool, String, String)>| match own.or(all) {
            Some((_, name, value)) if !value.is_empty() => Proxy::parse(name, value).map(Some),
            _ => Ok(None),
        };
        Ok(Self {
            https: parse(https.as_ref())?,
            http: parse(http.as_ref())?,
            bypass: none
                .map(|(_, _, list)| list.split([',', ' ']).filter_map(Bypass::parse).collect())
                .unwrap_or_default(),
        })
    }

    /// The proxy for an endpoint.
    pub(crate) fn for_endpoint(&self, endpoint: &Endpoint) -> Option<&Proxy> {
        let proxy = if endpoint.https { self.https.as_ref()? } else { self.http.as_ref()? };
        let host = endpoint.host.to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        let is_loopback = host == "localhost"
            || host.ends_with(".localhost")
            || address.is_some_and(|a| a.to_canonical().is_loopback());
        let bypassed = is_loopback || self.bypass.iter().any(|b| b.covers(&host, address, endpoint.port));
        (!bypassed).then_some(proxy)
    }
}

impl Proxy {
    fn parse(name: &str, value: &str) -> Result<Self, ProxyError> {
        let fail =
            |what: &str| Err(ProxyError(format!("{name}: {what}, expected `http://[user:password@]host[:port]`")));
        let rest = match value.split_once("://") {
            None => value,
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            // The scheme is printed, the rest may hold a password.
            Some((scheme, _)) => return fail(&format!("proxies of scheme `{scheme}` are not supported")),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, authority),
        };
        let (host, port) = match split_authority(authority) {
            Ok(parts) => parts,
            Err(what) => return fail(what),
        };
        let authorization = match user {
            None => None,
            Some(user) => {
                let Some(header) = basic(user) else { return fail("user information that is no header value") };
                Some(header)
            }
        };
        Ok(Self { host, port: port.unwrap_or(80), authorization })
    }
}

/// `Basic …` of percent-encoded `user:password`.
fn basic(user: &str) -> Option<HeaderValue> {
    let mut plain = percent_decoded(user);
    if !plain.contains(&b':') {
        plain.push(b':');
    }
    let mut header =
        HeaderValue::try_from(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(plain))).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        if let (b'%', Some(high), Some(low)) = (first, hex(rest.first()), hex(rest.get(1))) {
            out.push(high * 16 + low);
            bytes = rest.get(2..).unwrap_or_default();
        } else {
            out.push(*first);
            bytes = rest;
        }
    }
    out
}

impl Bypass {
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        if entry.is_empty() {
            return None;
        }
        if entry == "*" {
            return Some(Self::Everything);
        }
        if let Some((net, bits)) = entry.split_once('/')
            && let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u8>())
        {
            return Some(Self::Net(net, bits));
        }
        if let Ok(address) = entry.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Some(Self::Net(address, 128));
        }
        let (name, port) = match entry.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok()),
            None => (entry.as_str(), None),
        };
        let name = name.trim_start_matches("*.").trim_start_matches('.');
        (!name.is_empty()).then(|| Self::Name(name.to_owned(), port))
    }

    fn covers(&self, host: &str, address: Option<IpAddr>, port: u16) -> bool {
        match self {
            Self::Everything => true,
            Self::Name(name, only) => {
                let below = host.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                below && only.is_none_or(|only| only == port)
            }
            Self::Net(net, bits) => match (net, address) {
                (IpAddr::V4(net), Some(IpAddr::V4(address))) => {
                    shares_prefix(u128::from(net.to_bits()), u128::from(address.to_bits()), 32, *bits)
                }
                (IpAddr::V6(net), Some(IpAddr::V6(address))) => {
                    shares_prefix(net.to_bits(), address.to_bits(), 128, *bits)
                }
                _ => false,
            },
        }
    }
}

fn shares_prefix(a: u128, b: u128, width: u8, bits: u8) -> bool {
    let shift = u32::from(width - bits.min(width));
    (a ^ b).checked_shr(shift).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy_of(variables: &[(&str, &str)], endpoint: &str) -> Option<String> {
        let settings = ProxySettings::from_variables(variables.iter().copied()).unwrap();
        settings.for_endpoint(&Endpoint::parse(endpoint).unwrap()).map(|p| format!("{p:?}"))
    }

    #[test]
    fn each_scheme_has_its_variable_and_all_proxy_stands_in() {
        let set = [("HTTPS_PROXY", "http://s.corp:3128"), ("ALL_PROXY", "a.corp")];
        assert_eq!(proxy_of(&set, "https://api.x/"), Some("s.corp:3128".into()));
        assert_eq!(proxy_of(&set, "http://api.x/"), Some("a.corp:80".into()));
        assert_eq!(proxy_of(&[("http_proxy", "p")], "https://api.x/"), None);
        assert_eq!(proxy_of(&[("PATH", "/bin")], "https://api.x/"), None);
    }

    #[test]
    fn lower_case_wins_in_either_order_and_an_empty_value_means_none() {
        for set in [[("http_proxy", "low"), ("HTTP_PROXY", "up")], [("HTTP_PROXY", "up"), ("http_proxy", "low")]] {
            assert_eq!(proxy_of(&set, "http://api.x/"), Some("low:80".into()));
        }
        assert_eq!(proxy_of(&[("https_proxy", ""), ("all_proxy", "a")], "https://api.x/"), None);
    }

    #[test]
    fn loopback_is_never_proxied() {
        let set = [("ALL_PROXY", "http://p:1")];
        for local in
            ["http://127.0.0.1:9/", "http://127.8.8.8/", "http://[::1]/", "https://localhost/", "http://a.localhost"]
        {
            assert_eq!(proxy_of(&set, local), None, "{local}");
        }
        assert!(proxy_of(&set, "http://128.0.0.1/").is_some());
    }

    #[test]
    fn no_proxy_takes_names_suffixes_ports_addresses_and_networks() {
        let covered =
            |list: &str, endpoint: &str| proxy_of(&[("ALL_PROXY", "p"), ("NO_PROXY", list)], endpoint).is_none();
        assert!(covered("*", "https://a.b"));
        assert!(covered("x.org, a.b", "https://a.b"));
        assert!(covered(".a.b", "https://c.a.b"));
        assert!(covered("*.a.b", "https://c.a.b"));
        assert!(!covered("a.b", "https://ca.b"));
        assert!(covered("a.b:8443", "https://a.b:8443"));
        assert!(!covered("a.b:8443", "https://a.b"));
        assert!(covered("10.0.0.0/8", "http://10.3.2.1"));
        assert!(!covered("10.0.0.0/8", "http://11.3.2.1"));
        assert!(covered("10.0.0.1", "http://10.0.0.1"));
        assert!(!covered("10.0.0.1", "http://10.0.0.2"));
        assert!(covered("fd00::/8", "http://[fd12::1]"));
        assert!(covered("0.0.0.0/0", "http://1.2.3.4"));
    }

    #[test]
    fn credentials_come_percent_decoded_from_the_url_and_never_print() {
        let settings = ProxySettings::from_variables([("HTTP_PROXY", "http://me:w%40rd@p:1")]).unwrap();
        let proxy = settings.for_endpoint(&Endpoint::parse("http://a.b").unwrap()).unwrap();
        // base64 of `me:w@rd`
        assert_eq!(proxy.authorization.as_ref().unwrap(), "Basic bWU6d0ByZA==");
        let printed = format!("{settings:?}");
        assert!(!printed.contains("rd") && !printed.contains("bWU"), "{printed}");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_an_error_that_names_the_variable_but_no_password() {
        for bad in ["socks5://u:secret@p:1", "http://u:secret@", "http://u:secret@p:x"] {
            let error = ProxySettings::from_variables([("HTTPS_PROXY", bad)]).unwrap_err().to_string();
            assert!(error.starts_with("HTTPS_PROXY"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
