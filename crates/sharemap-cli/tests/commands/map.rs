//! `sharemap map`

use crate::run::{Files, varied};

#[test]
fn runs_cover_the_file() {
    let files = Files::new();
    let path = files.file("data.bin", &varied(500_000));
    let json = run!("map", &path, "--json").with_code(0).json();
    let mut next = 0;
    for run in json["runs"].as_array().unwrap() {
        assert_eq!(run["first_page"], next);
        next += run["pages"].as_u64().unwrap();
        let state = run["state"].as_str().unwrap();
        assert!(["resident", "absent", "unknown"].contains(&state), "{state}");
    }
    assert_eq!(json["pages"], next);
    assert!(json["picture"].is_null());
}

#[test]
fn a_bar_of_blocks() {
    let files = Files::new();
    let path = files.file("data.bin", &varied(500_000));
    let ran = run!("map", &path).with_code(0);
    assert!(ran.text().contains("one block is"), "{}", ran.text());
    if cfg!(target_os = "linux") {
        assert!(ran.text().contains("████"), "it has just been written: {}", ran.text());
        assert!(ran.text().contains("100.0 %"), "{}", ran.text());
    }
}

#[test]
fn the_extension_decides_the_format_of_a_picture() {
    let files = Files::new();
    for length in [0, 1, 5_000_000] {
        let path = files.file("data.bin", &varied(length));
        let png = files.path("picture.png");
        run!("map", &path, "-o", &png).with_code(0);
        let decoder =
            png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&png).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert!(pixels.iter().any(|&byte| byte < 100), "the picture has dark pixels");

        let svg = files.path("picture.SVG");
        let json = run!("map", &path, "-o", &svg, "--json").with_code(0).json();
        assert_eq!(json["picture"].as_str(), svg.to_str());
        let text = std::fs::read_to_string(&svg).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"));
        assert!(text.contains("data.bin"));
    }
}

#[test]
fn a_picture_that_cannot_be_written_is_named() {
    let files = Files::new();
    let path = files.file("data.bin", b"x");
    let ran = run!("map", &path, "-o", files.path("no-such-dir").join("x.png")).with_code(3);
    assert!(ran.stderr.contains("x.png"), "{ran:?}");
}

/// The residency of a large file is queried piece by piece, because that of all its pages may not fit into
/// memory.
#[test]
fn files_of_many_pages() {
    const SIZE: u64 = 8 << 30;
    if cfg!(any(windows, target_pointer_width = "32")) {
        println!("skipped: no sparse files, or no addresses for one of 8 GiB");
        return;
    }
    let files = Files::new();
    let path = files.file("huge", b"");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    if let Err(error) = file.set_len(SIZE) {
        println!("skipped: no file of 8 GiB here: {error}");
        return;
    }
    run!("touch", &path, "--offset", "5GiB", "--length", "64KiB").with_code(0);
    for command in ["map", "stat"] {
        let json = run!(command, &path, "--json").with_code(0).json();
        let found = if command == "stat" { &json["files"][0] } else { &json };
        let (pages, size) =
            (found["pages"].as_u64().unwrap(), found["page_size"].as_u64().unwrap());
        assert_eq!(pages, SIZE / size);
        if found["unknown"] == 0 {
            let resident = found["resident"].as_u64().unwrap();
            assert!(resident >= (64 << 10) / size, "{json:#}");
            assert_eq!(found["absent"], pages - resident);
            if command == "map" {
                let first = &found["runs"].as_array().unwrap()[0];
                assert_eq!((&first["state"], &first["first_page"]), (&"absent".into(), &0.into()));
                assert!(first["pages"].as_u64().unwrap() <= (5 << 30) / size);
            }
        }
    }
    run!("evict", &path).with_code(0);
}
