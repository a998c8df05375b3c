//! Lists with quality values: `Accept`, `Accept-Encoding`.

use http::header::{HeaderMap, HeaderName};

/// The elements of the fields `name`, without parameters, each with its weight: 1 if it has none, 0 if it is invalid.
pub(super) fn weighted<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (&'a str, f32)> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|item| {
            let mut parts = item.split(';');
            let what = parts.next().unwrap_or_default().trim();
            let weight = parts.find_map(|parameter| {
                let (name, value) = parameter.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
            });
            let read = |text: &str| text.parse().ok().filter(|q| (0.0..=1.0).contains(q));
            (what, weight.map_or(1.0, |text| read(text).unwrap_or(0.0)))
        })
        .filter(|(what, _)| !what.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::ACCEPT;

    use super::*;

    #[test]
    fn weights_are_read_over_all_fields() {
        let mut headers = HeaderMap::new();
        for value in [
            "text/html;level=1; Q=0.5 , */*;q=0",
            "",
            "a;q=x,b;q=nan,c;q=-1, ,d;q=1.000",
        ] {
            headers.append(ACCEPT, HeaderValue::from_static(value));
        }
        let read: Vec<_> = weighted(&headers, &ACCEPT).collect();
        let expected = [
            ("text/html", 0.5),
            ("*/*", 0.0),
            ("a", 0.0),
            ("b", 0.0),
            ("c", 0.0),
            ("d", 1.0),
        ];
        assert_eq!(read, expected);
    }
}
