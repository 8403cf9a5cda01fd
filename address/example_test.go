package address_test

import (
	"fmt"

	"github.com/ckpool/ckpool/address"
)

func ExampleParse() {
	a, err := address.Parse("BC1QAR0SRRR7XFKVY5L643LYDNW9RE59GTZZWF5MDQ")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(a, a.Type(), a.On(address.Main))
	script := a.Script()
	fmt.Printf("%x\n", script)

	back, err := address.FromScript(script, address.Main)
	fmt.Println(back == a, err)
	// Output:
	// bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq P2WPKH true
	// 0014e8df018c7e326cc253faac7e46cdc51e68542c42
	// true <nil>
}

func ExampleParse_mistyped() {
	_, err := address.Parse("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp")
	fmt.Println(err)
	// Output: address checksum is wrong, perhaps it is mistyped
}

func ExampleFromScript() {
	script := []byte("\x76\xa9\x14\x77\xbf\xf2\x0c\x60\xe5\x22\xdf\xaa\x33\x50\xc3\x9b\x03\x0a\x5d\x00\x4e\x83\x9a\x88\xac")
	a, err := address.FromScript(script, address.Main)
	fmt.Println(a, err)
	// Output: 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2 <nil>
}

func ExampleAddress_Payable() {
	a, _ := address.Parse("bc1pfeessrawgf")
	fmt.Println(a.Payable())
	// Output: pay-to-anchor address: anyone could take the coins
}
