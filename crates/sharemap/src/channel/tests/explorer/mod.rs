//! Channels in the explorer, with store buffers, and with deaths of every end and of recoverers.

mod spsc;
