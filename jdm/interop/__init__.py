"""Other libraries' ways in and out of jdm.

scikit_learn  estimators with scikit-learn's interface
"""
