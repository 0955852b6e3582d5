module modtier.test/bench/center

go 1.22
