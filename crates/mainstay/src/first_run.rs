//! What `serve` prints: where it listens, what it serves, and lines to try.

use crate::load::Origin;
use config::Snapshot;
use std::fmt::Write;
use std::net::SocketAddr;

/// The greeting.
pub(crate) fn greeting(origin: &Origin, snapshot: &Snapshot, address: SocketAddr) -> String {
    let mut text = format!("mainstay {} listens on http://{address}\n", env!("CARGO_PKG_VERSION"));
    let providers: Vec<&str> = snapshot.providers().map(|p| p.name.as_str()).collect();
    let models: Vec<&str> = snapshot.models().map(|m| m.name.as_str()).collect();
    let line = match origin {
        Origin::File(file) => format!("configuration: {}\n", file.display()),
        Origin::Environment => {
            format!(
                "no mainstay.yaml here: serving the providers whose keys are in the environment: {}\n",
                providers.join(", ")
            )
        }
        Origin::Simulated(_) => "no mainstay.yaml here and no provider keys in the environment:\n\
             three simulated providers, one a dialect, stand behind the model `demo`; they say the same,\n\
             and the header x-mainstay-provider says who served\n"
            .to_owned(),
    };
    text.push_str(&line);
    if !models.is_empty() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "models: {}", models.join(", "));
    }
    let model = models.first().map_or_else(|| example(snapshot), |name| (*name).to_owned());
    let key = if snapshot.keys.is_empty() { "none" } else { "YOUR_KEY" };
    let _ = write!(text, "\n{}", lines_to_try(address, &model, key));
    text
}

/// A model of the first provider, where the environment names providers but no models.
fn example(snapshot: &Snapshot) -> String {
    snapshot.providers().next().map_or_else(
        || "provider/model".to_owned(),
        |provider| format!("{}/{}", provider.name, provider.model_ids().next().unwrap_or("MODEL")),
    )
}

fn lines_to_try(address: SocketAddr, model: &str, key: &str) -> String {
    let authorization = if key == "none" { String::new() } else { format!(" -H 'authorization: Bearer {key}'") };
    format!(
        "try it:\n\n  curl -s http://{address}/v1/chat/completions{authorization} -H 'content-type: application/json' \\\n    \
         -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n\n  \
         from openai import OpenAI\n  \
         client = OpenAI(base_url=\"http://{address}/v1\", api_key=\"{key}\")\n  \
         print(client.chat.completions.create(model=\"{model}\", messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]).choices[0].message.content)\n\n\
         look: http://{address}/v1/models, http://{address}/health/ready, `mainstay explain --model {model}`\n\
         failover at work: `mainstay demo`"
    )
}
