//! Parsing and printing of [`Endpoint`]: done once per provider, when the configuration is loaded, so that a call never
//! meets a malformed address.

use crate::Endpoint;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Why a text is no endpoint; says what was found and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointError(String);

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EndpointError {}

impl Endpoint {
    /// Parses `http[s]://host[:port][/path]`. Query, fragment and user information are refused: credentials belong in
    /// the provider's keys, and a query would be lost when a path is appended.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let fail = |what: &str| {
            Err(EndpointError(format!(
                "{what} in `{}`, expected `http(s)://host[:port][/path]`",
                without_userinfo(text)
            )))
        };
        let Some((scheme, rest)) = text.split_once("://") else {
            return fail("no scheme");
        };
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return fail("a scheme that is neither http nor https"),
        };
        if rest.contains(['?', '#']) {
            return fail("a query or a fragment");
        }
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return fail("user information");
        }
        let (host, port) = match split_authority(authority) {
            Ok(parts) => parts,
            Err(what) => return fail(what),
        };
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        if !path.is_empty() && path.parse::<http::uri::PathAndQuery>().is_err() {
            return fail("a path with characters that a URL must escape");
        }
        Ok(Self { https, host, port: port.unwrap_or(if https { 443 } else { 80 }), path })
    }

    /// `host` or `host:port` when the port is not the scheme's own, IPv6 in brackets: what the `host` header says.
    pub fn authority(&self) -> String {
        let default = if self.https { 443 } else { 80 };
        if self.port == default { bracketed(&self.host) } else { host_and_port(&self.host, self.port) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// `host:port` with an IPv6 address in brackets.
pub(crate) fn host_and_port(host: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(host))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Splits `host[:port]` or `[v6][:port]`; the error says what is wrong.
pub(crate) fn split_authority(authority: &str) -> Result<(String, Option<u16>), &'static str> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("an unclosed bracket")?;
        if host.parse::<Ipv6Addr>().is_err() {
            return Err("a bad IPv6 address");
        }
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err("text after the bracket"),
        }
    } else {
        match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        }
    };
    if host.is_empty() {
        return Err("no host");
    }
    let is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    if !is_name && host.parse::<IpAddr>().is_err() {
        return Err("a host with characters that no host name has");
    }
    let port = match port {
        None => None,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err("a bad port"),
        },
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// The text for an error message: what stands before an `@` may be a password.
fn without_userinfo(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        (None, Some((_, rest))) => format!("…@{rest}"),
        (_, None) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (bool, String, u16, String) {
        let e = Endpoint::parse(text).unwrap();
        (e.https, e.host, e.port, e.path)
    }

    #[test]
    fn default_ports_and_trailing_slashes_are_settled_at_parse() {
        assert_eq!(parsed("https://API.openai.com/v1/"), (true, "api.openai.com".into(), 443, "/v1".into()));
        assert_eq!(parsed("http://10.0.0.7:8000/v1//"), (false, "10.0.0.7".into(), 8000, "/v1".into()));
        assert_eq!(parsed("http://localhost"), (false, "localhost".into(), 80, String::new()));
        assert_eq!(parsed("HTTP://localhost/"), (false, "localhost".into(), 80, String::new()));
    }

    #[test]
    fn an_ipv6_host_loses_its_brackets_and_gets_them_back_in_the_authority() {
        let e = Endpoint::parse("http://[::1]:4001/x").unwrap();
        assert_eq!(e.host, "::1");
        assert_eq!(e.authority(), "[::1]:4001");
        assert_eq!(e.to_string(), "http://[::1]:4001/x");
    }

    #[test]
    fn the_authority_names_a_port_only_when_it_is_not_the_schemes_own() {
        assert_eq!(Endpoint::parse("https://a.b:443/").unwrap().authority(), "a.b");
        assert_eq!(Endpoint::parse("http://a.b:443/").unwrap().authority(), "a.b:443");
    }

    #[test]
    fn what_is_not_a_plain_base_url_is_refused() {
        for bad in [
            "api.openai.com/v1",
            "ftp://a.b",
            "https://",
            "https:///v1",
            "https://a.b?x=1",
            "https://a.b/v1#x",
            "https://user:secret@a.b/",
            "https://a.b:0/",
            "https://a.b:99999/",
            "https://a.b:/",
            "https://[::1/",
            "https://[zz]/",
            "https://a b/",
            "https://a.b/v 1",
            "https://a.b\r\nx: y/",
        ] {
            assert!(Endpoint::parse(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn an_error_never_prints_user_information() {
        let error = Endpoint::parse("https://user:secret@a.b/").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}
