/*
Package rewards computes who gets how much of a block: which shares count, and the
division of the block's value in satoshis. It is exact and pure arithmetic: it knows no
database, no node and no clock, and computes the same from the same shares, in whatever
order they come.

# Order of shares

Shares stand in one order over all instances, in which no clock has a part. The key of
a share is the height of its job, then, at one height, the fraction of the work of its
own instance at that height that was received up to and including it, then the bytes of
the instance's id. With one instance that is the order of receipt; with several, what
is cut off a height is the same oldest fraction of each.

For a block count the shares up to and including the one that is the block: all of
lower heights; at the block's own height those of the instance that found it up to that
share, and all of the other instances.

# Window

PPLNS: the newest shares, as many as make N = times × network difficulty + add. The
oldest one is cut so that the window is exactly N. If there is less than N, all there
is has the whole reward. Nothing is subtracted when a block is paid: a share counts in
every block that is found while it is in the window. Proportional: all shares since the
previous block. Solo: the finder alone.

The weight of a share is the difficulty that its job was sent with, also where the
network's difficulty changed inside the window. What its hash achieved does not matter.

# Division

With the weights w of the accounts, their sum W and fees f in millionths, the fee is

	fee = ⌊ value · Σ w·f / (W · 10⁶) ⌋

and M = value - fee is divided in proportion to w·(10⁶ - f): everybody has the whole
satoshis of the exact quotient, and the satoshis that are left go, one each, to the
largest remainders; where these are equal, to the lesser account by kind, then name.
So all that is credited and the fee are the value, always. With one rate of fee for
all, more work is never less money; with several the fee, which is rounded down, moves
with the weights, and an account may have one satoshi less.

# Proof

[Export] writes all of the inputs and the result to a file, and [Verify] computes the
result anew from that file alone. A file has one form for the same reward, byte for
byte, so that two people can compare what they were given by its hash.
*/
package rewards
