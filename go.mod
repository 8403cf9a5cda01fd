module ckpool

go 1.26
