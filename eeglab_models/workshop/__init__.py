"""What a workshop needs: a kit that installs without a network, and a doctor that says what to mend."""
