//! `tambo openapi`: the committed documents, from the code.

use std::{error::Error, fs, path::PathBuf};

/// Where to write.
#[derive(clap::Args)]
pub struct Args {
    /// The folder that gets the documents
    #[arg(long, default_value = "openapi")]
    folder: PathBuf,
}

/// Writes one document per plane, and that of the link between them.
pub fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(&args.folder)?;
    let data_plane = data_plane::router::document()?.to_pretty_json()?;
    fs::write(args.folder.join("data-plane.json"), data_plane + "\n")?;
    let control_plane = control_plane::router::document()?.to_pretty_json()?;
    fs::write(args.folder.join("control-plane.json"), control_plane + "\n")?;
    let link = control_plane::router::link_document()?.to_pretty_json()?;
    fs::write(args.folder.join("link.json"), link + "\n")?;
    Ok(())
}
