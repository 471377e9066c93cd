//! Embeds the data files, so that a provider is added by a file and no Rust.

use std::fmt::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is set by cargo")?;
    let mut code = String::new();
    // Cargo runs build scripts in the package's folder.
    for folder in ["providers", "dialects"] {
        let path = Path::new("data").join(folder);
        println!("cargo::rerun-if-changed={}", path.display());
        let mut files = std::fs::read_dir(&path)?.collect::<Result<Vec<_>, _>>()?;
        files.sort_by_key(std::fs::DirEntry::path);
        writeln!(code, "const {}: &[(&str, &str)] = &[", folder.to_uppercase())?;
        for file in files {
            let path = file.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                println!("cargo::rerun-if-changed={}", path.display());
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                writeln!(code, "    ({stem:?}, {:?}),", std::fs::read_to_string(&path)?)?;
            }
        }
        writeln!(code, "];")?;
    }
    std::fs::write(Path::new(&out).join("data.rs"), code)?;
    Ok(())
}
