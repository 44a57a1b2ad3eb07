mod explorer;
mod faults;
mod positions;
