"""How to learn: model, generation, data modules and training modules. Pure torch and Lightning; imports nothing of
`tenet`."""
