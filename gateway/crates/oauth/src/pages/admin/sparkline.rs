//! A row of counts over time as a picture. Its words stand beside it: it says nothing that a table does
//! not say.

use std::fmt::Write as _;

/// The size of the drawing; it is stretched to the room that there is.
const WIDTH: usize = 240;
const HEIGHT: usize = 28;

/// Bars for `counts`, each with those of `refused` in another colour at its top, drawn so that `most` is
/// as high as the picture.
pub(super) fn bars(counts: &[u32], refused: &[u32], most: u32) -> String {
    let mut svg = format!(
        "<svg class=\"bars\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" \
         aria-hidden=\"true\" focusable=\"false\">"
    );
    let slots = counts.len().max(1);
    let step = WIDTH as f64 / slots as f64;
    let scale = HEIGHT as f64 / f64::from(most.max(1));
    for (at, count) in counts.iter().enumerate() {
        if *count == 0 {
            continue;
        }
        let refused = refused.get(at).copied().unwrap_or_default().min(*count);
        let height = (f64::from(*count) * scale).max(1.0);
        let share = f64::from(refused) / f64::from(*count);
        let (x, width) = (at as f64 * step, (step - 1.0).max(0.5));
        // Writing to a string can't fail.
        let _ = write!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>",
            HEIGHT as f64 - height
        );
        if refused > 0 {
            let _ = write!(
                svg,
                "<rect class=\"bad\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{:.1}\"/>",
                HEIGHT as f64 - height,
                height * share
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_count_and_stays_within_the_picture() {
        let svg = bars(&[0, 5, 10], &[0, 0, 5], 10);
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        assert!(
            svg.contains("y=\"14.0\"") && svg.contains("y=\"0.0\""),
            "{svg}"
        );
        assert!(svg.contains("class=\"bad\""), "{svg}");
        let empty = bars(&[], &[], 0);
        assert!(
            !empty.contains("<rect") && !empty.contains("NaN"),
            "{empty}"
        );
        // More than the most is drawn no higher than a bar of the most would reach upwards of the edge.
        assert!(!bars(&[1; 400], &[], 1).contains("width=\"-"));
    }
}
