// Package advice tests what portcheck says about holders: their names, their owners,
// and that each remedy, followed to the letter, frees the port and ends nothing else.
package advice
