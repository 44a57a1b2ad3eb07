mod explorer;
mod positions;
