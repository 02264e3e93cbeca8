"""Picture files written anew, part by part, by what each format needs to show its pixels."""
