// Package payout pays what the pool owes: who gets how much by which transaction, the
// transaction from the node's wallet or an offline signer, its check against the plan,
// and what becomes of it in the network, over every crash and every unclear answer.
//
// It knows the node by its RPC and the accounts by the [Book] alone: no database, no
// rewards, no shares. Amounts are int64 satoshis, fee rates are satoshis per 1000 vbytes.
//
// A run is a plan that was taken; each of its transactions is a [Payment] with a state
// of its own. What is true of a payment, whatever ends in between:
//
//   - The debit of every payee and the exact signed bytes are in the book before the
//     bytes first leave.
//   - From then on nothing but those bytes, or a replacement by fee with the same payee
//     outputs that is in the book before it leaves too, is ever sent for that money.
//   - Only the chain says that it is confirmed, and by which of its transactions.
package payout
