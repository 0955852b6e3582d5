module bench.example/fileserver

go 1.22
