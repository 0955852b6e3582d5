//! Log lines as JSON with the field names of the Elastic Common Schema (ECS).

use std::fmt;
use std::time::SystemTime;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Version of the schema whose names are used.
pub const ECS_VERSION: &str = "8.11.0";

/// Writes an event and the fields of its spans as one flat object. Needs `JsonFields` as the field format.
pub(super) struct Ecs;

impl<S, N> FormatEvent<S, N> for Ecs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Map::new();
        for span in ctx.event_scope().into_iter().flat_map(tracing_subscriber::registry::Scope::from_root) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<N>>().map_or("", |fields| fields.fields.as_str());
            if let Ok(Value::Object(fields)) = serde_json::from_str(fields) {
                line.extend(fields);
            }
        }
        event.record(&mut Fields(&mut line));
        line.insert("@timestamp".to_owned(), humantime::format_rfc3339_millis(SystemTime::now()).to_string().into());
        line.insert("log.level".to_owned(), event.metadata().level().as_str().to_ascii_lowercase().into());
        line.insert("log.logger".to_owned(), event.metadata().target().into());
        line.insert("ecs.version".to_owned(), ECS_VERSION.into());
        writeln!(writer, "{}", Value::Object(line))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn set(&mut self, field: &Field, value: Value) {
        // The one name that ECS gives to what went wrong.
        let name = if field.name() == "error" { "error.message" } else { field.name() };
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, value.to_string().into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::fmt::format::JsonFields;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_has_the_names_of_the_schema_and_the_fields_of_its_spans() {
        let lines = Lines::default();
        let log = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .fmt_fields(JsonFields::new())
            .event_format(Ecs)
            .finish();
        tracing::subscriber::with_default(log, || {
            let span = tracing::info_span!("request", id = 7, path = "a\"b");
            let _entered = span.enter();
            tracing::warn!(error = %"it broke", bytes = 12_u64, "stopped");
        });
        let line: Value = serde_json::from_slice(&lines.0.lock()).unwrap();
        assert_eq!(line["message"], "stopped");
        assert_eq!(line["log.level"], "warn");
        assert_eq!(line["error.message"], "it broke");
        assert_eq!(line["bytes"], 12);
        assert_eq!(line["id"], 7);
        assert_eq!(line["path"], "a\"b");
        assert!(line["@timestamp"].as_str().unwrap().ends_with('Z'));
    }
}
