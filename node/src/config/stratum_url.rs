//! The URL of the Stratum server that the operator wants to be shown to miners.

use anyhow::{Result, ensure};

/// The schemes that a URL of the operator may have.
const SCHEMES: [&str; 4] = ["stratum+tcp://", "stratum+ssl://", "stratum+tls://", "stratum://"];
/// Most characters of a URL that a QR code shows well.
const MAX_URL: usize = 100;

/// Checks a URL that the operator wants to be shown to miners, such as one that a router forwards.
///
/// # Errors
/// It is not the URL of a Stratum server.
pub fn check(url: &str) -> Result<()> {
    let rest = SCHEMES.iter().find_map(|scheme| url.strip_prefix(scheme)).unwrap_or_default();
    let port = rest.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    ensure!(
        port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
            && url.len() <= MAX_URL
            && url.bytes().all(|byte| byte.is_ascii_graphic()),
        "stratum_url: expected a URL such as stratum+tcp://pool.example.org:3333, not `{}`",
        url.escape_debug()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_of_the_operator_has_a_scheme_a_host_and_a_port() {
        for url in
            ["stratum+tcp://a:1", "stratum+ssl://[2001:db8::1]:443", "stratum://10.0.0.1:3333"]
        {
            check(url).unwrap();
        }
        for wrong in [
            "",
            "a:1",
            "http://a:1",
            "stratum+tcp://a",
            "stratum+tcp://:1",
            "stratum+tcp://a:0",
            "stratum+tcp://a:70000",
            "stratum+tcp://a b:1",
            "stratum+tcp://a:1/\n",
        ] {
            assert!(check(wrong).unwrap_err().to_string().contains("stratum_url"), "{wrong}");
        }
        check(&format!("stratum+tcp://{}:1", "a".repeat(100))).unwrap_err();
    }
}
