package work

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/btcsuite/btcd/blockchain"
	"github.com/btcsuite/btcd/btcutil/v2"
	"github.com/btcsuite/btcd/txscript/v2"
	"github.com/btcsuite/btcd/wire/v2"
	"pgregory.net/rapid"
)

func TestHeightPush(t *testing.T) {
	for height, want := range map[int64]string{
		0: "00", 1: "51", 2: "52", 16: "60", 17: "0111", 127: "017f", 128: "028000", 255: "02ff00", 256: "020001",
		16511: "027f40", 16512: "028040", 32767: "02ff7f", 32768: "03008000", 65535: "03ffff00", 65536: "03000001",
		850000: "0350f80c", 2113664: "03804020", 8388607: "03ffff7f", 8388608: "0400008000",
	} {
		if got := hex.EncodeToString(heightPush(height)); got != want {
			t.Errorf("heightPush(%d) = %s, want %s", height, got, want)
		}
	}
}

// Consensus' own reader must agree with every height.
func TestHeightPushConsensus(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		height := rapid.OneOf(rapid.Int32Range(0, 300), rapid.Int32Range(0, 1<<31-1)).Draw(t, "height")
		push := heightPush(int64(height))
		want, err := txscript.NewScriptBuilder().AddInt64(int64(height)).Script()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(push, want) {
			t.Fatalf("heightPush(%d) = %x, txscript has %x", height, push, want)
		}
		tx := wire.NewMsgTx(1)
		tx.AddTxIn(&wire.TxIn{SignatureScript: push})
		if err := blockchain.CheckSerializedHeight(btcutil.NewTx(tx), height); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDataPush(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "0100", 0: "0100", 1: "0101", 16: "0110", 17: "0111", 127: "017f", 128: "028000", 255: "02ff00", 256: "020001",
		16511: "027f40", 16512: "028040", 32767: "02ff7f", 32768: "03008000", 65535: "03ffff00", 65536: "03000001",
		850000: "0350f80c", 2113664: "03804020", 8388607: "03ffff7f", 8388608: "0400008000",
		1795327613: "047d86026b", 576097250: "04e28b5622",
		1 << 31: "0400000080", 1<<32 - 1: "04ffffffff", 1 << 32: "050000000001", // 2038 and 2106
	} {
		if got := hex.EncodeToString(dataPush(n)); got != want {
			t.Errorf("dataPush(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestAppendPush(t *testing.T) {
	for _, n := range []int{0, 1, 75, 76, 255} {
		data := bytes.Repeat([]byte{0xaa}, n)
		want, err := txscript.NewScriptBuilder().AddFullData(data).Script()
		if err != nil {
			t.Fatal(err)
		}
		if got := appendPush(nil, data); !bytes.Equal(got, want) {
			t.Errorf("push of %d bytes is %x, want %x", n, got, want)
		}
	}
}

func TestCompactSize(t *testing.T) {
	for _, n := range []int{0, 1, 252, 253, 65535, 65536, 1 << 20} {
		var want bytes.Buffer
		if err := wire.WriteVarInt(&want, 0, uint64(n)); err != nil {
			t.Fatal(err)
		}
		got := appendCompactSize(nil, n)
		if !bytes.Equal(got, want.Bytes()) || len(got) != compactSizeLen(n) {
			t.Errorf("compact size of %d is %x, want %x", n, got, want.Bytes())
		}
	}
}
