//! The promises of `docs/FAILOVER.md` name tests that exist.

use std::path::Path;

/// Where the document's short paths begin; all others begin in [`GATEWAY`].
const ROOTS: [(&str, &str); 5] = [
    ("machine/", "routing/tests/machine/"),
    ("laws/", "rescue/tests/laws/"),
    ("breaker.rs", "health/tests/breaker.rs"),
    ("by_size.rs", "health/tests/by_size.rs"),
    ("blackbox/", "mainstay/tests/blackbox/"),
];
const GATEWAY: (&str, &str) = ("", "gateway/tests/");

#[test]
fn every_test_that_a_promise_names_exists() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(crates.join("../docs/FAILOVER.md")).unwrap();
    let named: Vec<(&str, &str)> = document.split('`').filter_map(|quoted| quoted.split_once(".rs::")).collect();
    assert!(named.len() > 60, "{}", named.len());
    for (file, test) in named {
        let file = format!("{file}.rs");
        let (short, long) = ROOTS.iter().find(|(short, _)| file.starts_with(short)).unwrap_or(&GATEWAY);
        let path = crates.join(file.replacen(short, long, 1));
        let source = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(source.contains(&format!("fn {test}(")), "{file} has no test `{test}`");
    }
    let in_python: Vec<(&str, &str)> = document.split('`').filter_map(|quoted| quoted.split_once(".py::")).collect();
    assert!(!in_python.is_empty());
    for (file, test) in in_python {
        let source = std::fs::read_to_string(crates.join(format!("../{file}.py"))).unwrap();
        assert!(source.contains(&format!("def {test}(")), "{file}.py has no test `{test}`");
    }
}

#[test]
fn every_fault_class_has_its_row() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = std::fs::read_to_string(crates.join("../docs/FAILOVER.md")).unwrap();
    for class in canon::FaultClass::ALL {
        assert!(document.contains(&format!("\n| `{class}` | ")), "{class}");
    }
}
