//! The center asks its upstreams anew: `POST /api/v1/repos/<repo>/refresh`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use crate::tier::TierClient;
use crate::url::reason;

/// How long the center may take: it waits for its upstreams.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(2);

/// What became of one module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Refreshed {
    /// Its path.
    pub(crate) module: String,
    /// All its versions, in semantic order.
    pub(crate) versions: Vec<String>,
    /// Those of them that the center did not know before it asked.
    pub(crate) new: Vec<String>,
    /// The repositories whose upstreams were asked.
    pub(crate) sources: Vec<String>,
    /// Why there is no list.
    pub(crate) error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    modules: Vec<Refreshed>,
}

/// Has the center ask for these modules.
pub(crate) async fn refresh(
    client: &TierClient,
    center: &str,
    repository: &str,
    modules: &[String],
) -> Result<Vec<Refreshed>, String> {
    let path = format!("api/v1/repos/{repository}/refresh");
    let body = json!({ "modules": modules }).to_string();
    let asked = async {
        let request = client.post(center, &path).header(http::header::CONTENT_TYPE, "application/json").body(body);
        let response = request.send().await.map_err(reason)?;
        let status = response.status();
        if !status.is_success() {
            return Err(format!("the center answered {status}"));
        }
        response.json::<Answer>().await.map(|answer| answer.modules).map_err(reason)
    };
    tokio::time::timeout(ANSWER_TIMEOUT, asked).await.unwrap_or_else(|_| Err("the center did not answer".to_owned()))
}
