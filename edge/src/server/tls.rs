//! The certificate of this edge: which settings name it, and the figures of what becomes of it.

use std::sync::Arc;

use shared::tls::Tls;

use crate::app::App;

/// Reads the certificate again whenever its files, or the settings that name them, change. Runs until the edge stops.
pub(crate) async fn watch(app: Arc<App>, tls: Arc<Tls>) {
    app.metrics.serving.certificate_expiry.set(tls.expires());
    let mut stopped = app.stopped.subscribe();
    let told = |outcome: Result<i64, String>| {
        app.metrics.serving.certificate_loaded(outcome.is_ok());
        if let Ok(expires) = outcome {
            app.metrics.serving.certificate_expiry.set(expires);
        }
    };
    tokio::select! {
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = shared::tls::watch(tls, || app.config().tls.clone(), told) => {}
    }
}
